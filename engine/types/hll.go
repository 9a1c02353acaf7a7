package types

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

// Errors of strings that are used as HyperLogLogs.
var (
	ErrNotHLL = errors.New("types: not a HyperLogLog")
	ErrHLL    = errors.New("types: corrupted HyperLogLog")
)

// HLL is the HyperLogLog at a key, present or not: a string whose bytes are drawn in hllsketch.go.
type HLL struct {
	s     String
	bytes []byte // nil when there is none; the record's as long as !own
	own   bool
}

// OpenHLL returns the HyperLogLog at k: ErrWrongType if another type is there, ErrNotHLL if another string is.
func OpenHLL(t *engine.Txn, k engine.Key) (h HLL, err error) {
	if h.s, err = OpenString(t, k); err != nil || !h.s.Exists() {
		return h, err
	}
	head, err := h.s.Append(nil, 0, min(h.s.Len(), hllHeader))
	switch {
	case err != nil:
		return h, err
	case !isSketch(head, h.s.Len()):
		return h, ErrNotHLL
	case h.s.Len() > hllSparseMost:
		return h, ErrHLL
	}
	h.bytes, err = h.s.Bytes()
	return h, err
}

// Exists says whether there is one: an absent one counts as empty.
func (h *HLL) Exists() bool { return h.s.Exists() }

// Dense says which form an existing one has.
func (h *HLL) Dense() bool { return isDense(h.bytes) }

// writable makes the bytes the HLL's own, so that they can be changed in place; without any, those of an empty one.
func (h *HLL) writable() {
	switch {
	case h.own:
	case h.bytes == nil:
		h.bytes = newSketch()
	default:
		h.bytes = bytes.Clone(h.bytes)
	}
	h.own = true
}

// store writes the bytes; the expiry stays.
func (h *HLL) store() error {
	return setString(h.s.txn, h.s.key, h.bytes, h.s.ExpireAt(), keys.EncodingRaw)
}

// Touch stores what has not changed where OBJECT ENCODING must call it raw from now on.
func (h *HLL) Touch() error {
	if StringEncoding(h.s.rec) == "raw" {
		return nil
	}
	return h.store()
}

func (h *HLL) raise(index int, rank uint8) (changed bool, err error) {
	h.bytes, changed, err = raise(h.bytes, index, rank, h.s.txn.Packing().HLLSparseBytes)
	return changed, err
}

// Add adds elements, creating the HyperLogLog if there is none, and reports whether that changed anything. The cardinality is then
// out of date.
func (h *HLL) Add(elements [][]byte) (changed bool, err error) {
	changed = !h.Exists()
	h.writable()
	for _, e := range elements {
		raised, err := h.raise(hllPlace(e))
		if err != nil {
			return false, err
		}
		changed = changed || raised
	}
	if !changed {
		return false, h.Touch()
	}
	h.bytes[hllCardAt+7] |= hllStaleBit
	return true, h.store()
}

// Count is the estimated cardinality. If the transaction may write to the key, the estimate is stored with it.
func (h *HLL) Count() (uint64, error) {
	if !h.Exists() {
		return 0, nil
	}
	keep := h.s.txn.Writable(h.s.key.Slot)
	if !staleSketch(h.bytes) {
		n := binary.LittleEndian.Uint64(h.bytes[hllCardAt:])
		if keep {
			return n, h.Touch()
		}
		return n, nil
	}
	histogram, err := histogramOf(h.bytes)
	if err != nil {
		return 0, err
	}
	n := histogram.cardinality()
	if !keep {
		return n, nil
	}
	h.writable()
	binary.LittleEndian.PutUint64(h.bytes[hllCardAt:], n)
	return n, h.store()
}

// HLLUnion is the union of HyperLogLogs.
type HLLUnion struct {
	max   hllMax
	dense bool
}

// Add makes an existing HyperLogLog part of the union.
func (u *HLLUnion) Add(h *HLL) error {
	u.dense = u.dense || h.Dense()
	return u.max.union(h.bytes)
}

// Count is the estimated cardinality.
func (u *HLLUnion) Count() uint64 {
	h := u.max.histogram()
	return h.cardinality()
}

// Merge makes h the union of itself and of u, creating it if there is none; it becomes dense if a part of u was.
func (h *HLL) Merge(u *HLLUnion) (err error) {
	h.writable()
	if u.dense {
		if h.bytes, err = denseSketch(h.bytes); err != nil {
			return err
		}
	}
	for i, rank := range u.max {
		if rank == 0 {
			continue
		}
		if _, err := h.raise(i, rank); err != nil {
			return err
		}
	}
	h.bytes[hllCardAt+7] |= hllStaleBit
	return h.store()
}

// ToDense makes an existing one dense and reports whether it was not before.
func (h *HLL) ToDense() (changed bool, err error) {
	if h.Dense() {
		return false, h.Touch()
	}
	if h.bytes, err = denseSketch(h.bytes); err != nil {
		return false, err
	}
	h.own = true
	return true, h.store()
}

// Registers calls fn for each register of a dense one.
func (h *HLL) Registers(fn func(value uint8)) {
	for i := range hllRegisters {
		fn(denseGet(h.bytes[hllHeader:], i))
	}
}

// HLLRegisters is how many registers there are.
const HLLRegisters = hllRegisters

// Runs describes a sparse one in the words of PFDEBUG DECODE, as far as it can be read.
func (h *HLL) Runs() []byte {
	var out []byte
	for ops := h.bytes[hllHeader:]; len(ops) > 0; {
		value, run, size := sparseOp(ops)
		switch {
		case size == 0:
			return bytes.TrimRight(out, " ")
		case value > 0:
			out = fmt.Appendf(out, "v:%d,%d ", value, run)
		case size == 1:
			out = fmt.Appendf(out, "z:%d ", run)
		default:
			out = fmt.Appendf(out, "Z:%d ", run)
		}
		ops = ops[size:]
	}
	return bytes.TrimRight(out, " ")
}

// hllTestElements is how many elements HLLSelfTest adds; the counts are looked at at each power of ten.
const hllTestElements = 100_000

// HLLSelfTest checks registers and estimates, in memory, from a seed (PFSELFTEST). It takes a while.
func HLLSelfTest(seed uint64) error {
	dense, err := denseSketch(newSketch())
	if err != nil {
		return err
	}
	regs := dense[hllHeader:]
	value := func(i int) uint8 {
		return uint8(murmur64A(binary.LittleEndian.AppendUint64(nil, seed+uint64(i)))) & hllRegisterMax
	}
	for i := range hllRegisters {
		denseSet(regs, i, value(i))
	}
	for i := range hllRegisters {
		if got := denseGet(regs, i); got != value(i) {
			return fmt.Errorf("TESTFAILED Register %d should be %d but is %d", i, value(i), got)
		}
	}
	clear(regs)
	return hllTestEstimates(dense, newSketch(), seed)
}

func hllTestEstimates(dense, sketch []byte, seed uint64) error {
	const sixSigma = 6 * 1.04 / 128 // the standard error is 1.04/√registers
	sparseBytes := engine.DefaultPacking().HLLSparseBytes
	for n, next := 1, 1; n <= hllTestElements; n++ {
		var err error
		index, rank := hllPlace(binary.LittleEndian.AppendUint64(nil, seed^uint64(n)))
		dense, _, _ = raise(dense, index, rank, 0)
		if sketch, _, err = raise(sketch, index, rank, sparseBytes); err != nil {
			return err
		}
		if n < next {
			continue
		}
		next *= 10
		a, _ := histogramOf(dense)
		b, err := histogramOf(sketch)
		got := int(a.cardinality())
		switch {
		case err != nil:
			return err
		case n < sparseBytes/2 && isDense(sketch):
			return errors.New("TESTFAILED sparse encoding not used")
		case a != b:
			return errors.New("TESTFAILED dense/sparse disagree")
		case max(got-n, n-got) > int(sixSigma*float64(n))+1:
			return fmt.Errorf("TESTFAILED Too big error. card:%d abserr:%d", n, max(got-n, n-got))
		}
	}
	return nil
}
