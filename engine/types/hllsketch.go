package types

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
)

// A HyperLogLog is a string with the bytes that Redis gives it (hyperloglog.c), so that GET, SET, DUMP and the cluster's tools
// carry it over:
//
//	"HYLL" encoding(1: 0 dense, 1 sparse) 0 0 0 cardinality(8, little endian; the top bit says that it is out of date)
//
// and the registers, 16384 of 6 bits. Dense, they follow each other from the low bits of the first byte on. Sparse, they are runs:
//
//	00nnnnnn            n+1 registers are 0
//	01nnnnnn nnnnnnnn   n+1 registers are 0
//	1vvvvvnn            n+1 registers are v+1
//
// A sparse sketch becomes dense when a register exceeds 32, or when it would grow past hll-sparse-max-bytes.
const (
	hllMagic       = "HYLL"
	hllHeader      = 16
	hllEncodingAt  = 4
	hllCardAt      = 8
	hllDense       = 0
	hllSparse      = 1
	hllIndexBits   = 14
	hllRegisters   = 1 << hllIndexBits
	hllRegisterMax = 1<<6 - 1
	hllDenseLen    = hllHeader + hllRegisters*6/8
	// hllSparseMost is longer than any sparse sketch that is whole: an operation covers at least a register.
	hllSparseMost = hllHeader + 2*hllRegisters

	hllZero       = 0x00
	hllXZero      = 0x40
	hllVal        = 0x80
	hllZeroMax    = 64
	hllValMax     = 32
	hllValRunMax  = 4
	hllStaleBit   = 0x80
	hllHashRest   = 64 - hllIndexBits // bits of a hash that don't address a register
	hllAlphaInf   = 0.721347520444481703680
	hllMurmurSeed = 0xadc83b19
	// hllMergeScan is how many operations Redis looks at, from the one before a change on, for runs to join.
	hllMergeScan = 5
)

// hllMax are the registers of a union: the maximum of each.
type hllMax [hllRegisters]uint8

// newSketch returns an empty one. Its cardinality counts as known: 0.
func newSketch() []byte {
	b := make([]byte, hllHeader, 2*hllHeader)
	copy(b, hllMagic)
	b[hllEncodingAt] = hllSparse
	return appendZeros(b, hllRegisters)
}

// isSketch says whether a value of n bytes that begins with head may be a HyperLogLog.
func isSketch(head []byte, n int64) bool {
	return len(head) >= hllHeader && string(head[:len(hllMagic)]) == hllMagic && head[hllEncodingAt] <= hllSparse &&
		(head[hllEncodingAt] == hllSparse || n == hllDenseLen)
}

func isDense(b []byte) bool { return b[hllEncodingAt] == hllDense }

func staleSketch(b []byte) bool { return b[hllCardAt+7]&hllStaleBit != 0 }

// hllPlace returns the register that an element belongs to, and the value that it raises it to: the
// position of the first 1 in the rest of its hash.
func hllPlace(element []byte) (index int, rank uint8) {
	h := murmur64A(element)
	rest := h>>hllIndexBits | 1<<hllHashRest
	return int(h % hllRegisters), uint8(bits.TrailingZeros64(rest) + 1)
}

// murmur64A is MurmurHash2 for 64-bit platforms, by Austin Appleby, over little-endian words.
func murmur64A(p []byte) uint64 {
	const m, r = 0xc6a4a7935bd1e995, 47
	h := hllMurmurSeed ^ uint64(len(p))*m
	for ; len(p) >= 8; p = p[8:] {
		k := binary.LittleEndian.Uint64(p) * m
		k = (k ^ k>>r) * m
		h = (h ^ k) * m
	}
	if len(p) > 0 {
		var tail [8]byte
		copy(tail[:], p)
		h = (h ^ binary.LittleEndian.Uint64(tail[:])) * m
	}
	h = (h ^ h>>r) * m
	return h ^ h>>r
}

// denseGet and denseSet work on the registers behind the header.
func denseGet(regs []byte, i int) uint8 {
	at, shift := i*6/8, i*6%8
	v := uint16(regs[at])
	if shift > 2 {
		v |= uint16(regs[at+1]) << 8
	}
	return uint8(v>>shift) & hllRegisterMax
}

func denseSet(regs []byte, i int, v uint8) {
	at, shift := i*6/8, i*6%8
	regs[at] = regs[at]&^(hllRegisterMax<<shift) | v<<shift
	if shift > 2 {
		regs[at+1] = regs[at+1]&^(hllRegisterMax>>(8-shift)) | v>>(8-shift)
	}
}

// sparseOp reads the first operation of ops: so many registers have the value. size is its length, 0 when it is cut.
func sparseOp(ops []byte) (value uint8, run, size int) {
	switch op := ops[0]; {
	case op&hllVal != 0:
		return op>>2&0x1f + 1, int(op&3) + 1, 1
	case op&hllXZero == 0:
		return 0, int(op) + 1, 1
	case len(ops) < 2:
		return 0, 0, 0
	default:
		return 0, int(op&^hllXZero)<<8 + int(ops[1]) + 1, 2
	}
}

func appendZeros(ops []byte, run int) []byte {
	if run <= hllZeroMax {
		return append(ops, hllZero|byte(run-1))
	}
	return append(ops, hllXZero|byte((run-1)>>8), byte(run-1))
}

func sparseVal(value uint8, run int) byte { return hllVal | (value-1)<<2 | byte(run-1) }

// sparseRuns calls fn for the runs of a sparse sketch; an error means that they are not those of all registers, exactly.
func sparseRuns(b []byte, fn func(first, run int, value uint8)) error {
	first := 0
	for ops := b[hllHeader:]; len(ops) > 0; {
		value, run, size := sparseOp(ops)
		if size == 0 || first+run > hllRegisters {
			return ErrHLL
		}
		fn(first, run, value)
		first, ops = first+run, ops[size:]
	}
	if first != hllRegisters {
		return ErrHLL
	}
	return nil
}

// denseSketch returns b in the dense form; b itself when it is that already.
func denseSketch(b []byte) ([]byte, error) {
	if isDense(b) {
		return b, nil
	}
	d := make([]byte, hllDenseLen)
	copy(d, b[:hllHeader])
	d[hllEncodingAt] = hllDense
	err := sparseRuns(b, func(first, run int, value uint8) {
		for i := first; value > 0 && i < first+run; i++ {
			denseSet(d[hllHeader:], i, value)
		}
	})
	return d, err
}

// raise sets a register of the sketch to rank if it is less. It may change b's bytes; the result takes its place.
func raise(b []byte, index int, rank uint8, sparseBytes int) (out []byte, changed bool, err error) {
	if !isDense(b) {
		out, changed, fits, err := raiseSparse(b, index, rank, sparseBytes)
		if fits || err != nil {
			return out, changed, err
		}
		if b, err = denseSketch(b); err != nil {
			return nil, false, err
		}
	}
	regs := b[hllHeader:]
	if denseGet(regs, index) >= rank {
		return b, false, nil
	}
	denseSet(regs, index, rank)
	return b, true, nil
}

// raiseSparse is raise for the sparse form. fits is false when the sketch has to become dense for it. Which operations come out is
// Redis's choice (hllSparseSet): the same elements in the same order give the same bytes.
func raiseSparse(b []byte, index int, rank uint8, sparseBytes int) (out []byte, changed, fits bool, err error) {
	if rank > hllValMax {
		return b, false, false, nil
	}
	at, before, first := hllHeader, hllHeader, 0 // before is the operation before the one at `at`
	var value uint8
	var run, size int
	for {
		if at >= len(b) {
			return nil, false, false, ErrHLL
		}
		if value, run, size = sparseOp(b[at:]); size == 0 {
			return nil, false, false, ErrHLL
		}
		if index < first+run {
			break
		}
		before, at, first = at, at+size, first+run
	}
	switch {
	case value >= rank:
		return b, false, true, nil
	case run == 1 && size == 1:
		b[at] = sparseVal(rank, 1)
	default:
		var buf [5]byte
		split := splitRun(buf[:0], index-first, first+run-1-index, value, rank)
		if len(split) > size && len(b)+len(split)-size > sparseBytes {
			return b, false, false, nil
		}
		b = slices.Replace(b, at, at+size, split...)
	}
	return joinRuns(b, before), true, true, nil
}

// splitRun appends the operations for a run of value of which one register, with so many others before and after it, becomes rank.
func splitRun(ops []byte, before, after int, value, rank uint8) []byte {
	fill := func(run int) {
		switch {
		case run == 0:
		case value == 0:
			ops = appendZeros(ops, run)
		default:
			ops = append(ops, sparseVal(value, run))
		}
	}
	fill(before)
	ops = append(ops, sparseVal(rank, 1))
	fill(after)
	return ops
}

// joinRuns joins neighbours of the same value from an operation on.
func joinRuns(b []byte, at int) []byte {
	for scan := hllMergeScan; scan > 0 && at < len(b); scan-- {
		value, run, size := sparseOp(b[at:])
		if size == 0 {
			break // the damage lies behind what was changed
		}
		if value > 0 && at+1 < len(b) && b[at+1]&hllVal != 0 {
			next, more, _ := sparseOp(b[at+1:])
			if next == value && run+more <= hllValRunMax {
				b[at+1] = sparseVal(value, run+more)
				b = slices.Delete(b, at, at+1)
				continue
			}
		}
		at += size
	}
	return b
}

// union raises m to the registers of a sketch.
func (m *hllMax) union(b []byte) error {
	if !isDense(b) {
		return sparseRuns(b, func(first, run int, value uint8) {
			for i := first; value > 0 && i < first+run; i++ {
				m[i] = max(m[i], value)
			}
		})
	}
	regs := b[hllHeader:]
	for i := 0; i < hllRegisters; i += 4 { // four registers are three bytes
		v := uint32(regs[0]) | uint32(regs[1])<<8 | uint32(regs[2])<<16
		for j := range 4 {
			m[i+j] = max(m[i+j], uint8(v>>(6*j))&hllRegisterMax)
		}
		regs = regs[3:]
	}
	return nil
}

// hllHistogram counts the registers of each value.
type hllHistogram [hllRegisterMax + 1]int

func (m *hllMax) histogram() (h hllHistogram) {
	for _, v := range m {
		h[v]++
	}
	return h
}

// histogramOf is the histogram of one sketch.
func histogramOf(b []byte) (h hllHistogram, err error) {
	if isDense(b) {
		var m hllMax
		err = m.union(b)
		return m.histogram(), err
	}
	err = sparseRuns(b, func(_, run int, value uint8) { h[value] += run })
	return h, err
}

// cardinality estimates how many elements were added, as Redis since 5.0: Otmar Ertl, "New cardinality estimation algorithms for HyperLogLog
// sketches", arXiv:1702.01284, algorithm 6. The conversions keep compilers from fusing operations, which would round otherwise.
func (h *hllHistogram) cardinality() uint64 {
	const m, q = float64(hllRegisters), hllHashRest
	z := float64(m * hllTau((m-float64(h[q+1]))/m))
	for j := q; j >= 1; j-- {
		z = float64(z+float64(h[j])) * 0.5
	}
	z += float64(m * hllSigma(float64(h[0])/m))
	return uint64(math.Round(float64(hllAlphaInf*m*m) / z))
}

func hllSigma(x float64) float64 {
	if x == 1 {
		return math.Inf(1)
	}
	y, z := 1.0, x
	for {
		x *= x
		last := z
		z += float64(x * y)
		y += y
		if z == last {
			return z
		}
	}
}

func hllTau(x float64) float64 {
	if x == 0 || x == 1 {
		return 0
	}
	y, z := 1.0, 1-x
	for {
		x = math.Sqrt(x)
		last := z
		y *= 0.5
		z -= float64(float64((1-x)*(1-x)) * y)
		if z == last {
			return z / 3
		}
	}
}
