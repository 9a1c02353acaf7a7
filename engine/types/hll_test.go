package types

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

// TestSketchKeepsMaxima: sparse or dense, whenever it changes, a sketch has the greatest rank of each register.
func TestSketchKeepsMaxima(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{0, 40, 3000, 1 << 20} {
		rng := rand.New(rand.NewPCG(7, uint64(limit)))
		b := newSketch()
		var want hllMax
		most := hllValMax
		if limit == 40 {
			most = hllRegisterMax
		}
		for i := range 4000 {
			index, rank := rng.IntN(hllRegisters), uint8(1+rng.IntN(1+rng.IntN(most)))
			if rng.IntN(2) == 0 {
				index %= 50 // neighbours, of which runs are made
				rank = 1 + rank%3
			}
			was := want[index]
			want[index] = max(was, rank)
			var changed bool
			var err error
			if b, changed, err = raise(b, index, rank, limit); err != nil || changed != (rank > was) {
				t.Fatalf("limit %d, %d: register %d from %d to %d: changed %v, %v", limit, i, index, was, rank, changed, err)
			}
			if i%100 != 0 {
				continue
			}
			var got hllMax
			if err := got.union(b); err != nil || got != want {
				t.Fatalf("limit %d: after %d elements the registers differ, %v", limit, i, err)
			}
			sum, err := histogramOf(b)
			if err != nil || sum != want.histogram() {
				t.Fatalf("limit %d: after %d elements the histogram differs, %v", limit, i, err)
			}
		}
		if isDense(b) != (limit <= 3000) {
			t.Errorf("limit %d: dense is %v after %d bytes", limit, isDense(b), len(b))
		}
	}
}

// TestHLLCounts: the estimate is stored where the transaction may write, and no error is larger than the algorithm's.
func TestHLLCounts(t *testing.T) {
	t.Parallel()
	tx := openStore(t).NewTxn()
	k := key("h")
	tx.Lock([]uint16{k.Slot}, true)
	open := func() HLL {
		t.Helper()
		h, err := OpenHLL(tx, k)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	added := 0
	for _, n := range []int{0, 1, 10, 1000, 30_000} {
		var elements [][]byte
		for ; added < n; added++ {
			elements = append(elements, strconv.AppendInt(nil, int64(added), 10))
		}
		h := open()
		if changed, err := h.Add(elements); err != nil || !changed {
			t.Fatal(changed, err)
		}
		h = open()
		if got, err := h.Count(); err != nil || max(int(got)-n, n-int(got))*25 > n {
			t.Fatalf("%d, %v for %d elements", got, err, n)
		}
		if h = open(); staleSketch(h.bytes) {
			t.Error("the estimate was not stored")
		}
		if changed, err := h.Add(elements); err != nil || changed || staleSketch(h.bytes) {
			t.Errorf("adding the same again: %v, %v", changed, err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	tx.Lock([]uint16{k.Slot}, false)
	defer tx.Discard()
	h := open()
	if n, err := h.Count(); err != nil || n < 29_000 {
		t.Errorf("under a read lock: %d, %v", n, err)
	}
}

func TestHLLSelfTest(t *testing.T) {
	t.Parallel()
	if err := HLLSelfTest(1); err != nil {
		t.Error(err)
	}
}

// FuzzSketch: whatever looks like a HyperLogLog is used or refused.
func FuzzSketch(f *testing.F) {
	f.Add([]byte("\x7f\xff"), uint16(3), uint8(2))
	f.Add([]byte("\x00\x80\x81\x7f"), uint16(1), uint8(40))
	f.Add([]byte("\x83\x83\x84\x3f\x7f\xb6"), uint16(5), uint8(1))
	f.Add([]byte("\x7f\xff\x80"), uint16(1), uint8(1))
	f.Fuzz(func(t *testing.T, ops []byte, index uint16, rank uint8) {
		b := append([]byte(hllMagic+"\x01"+strings.Repeat("\x00", 11)), ops...)
		if !isSketch(b, int64(len(b))) {
			t.Fatal("no sketch")
		}
		before, errBefore := histogramOf(b)
		dense, err := denseSketch(b)
		if !errors.Is(err, errBefore) {
			t.Fatalf("%v, but %v", errBefore, err)
		}
		if err == nil {
			if h, err := histogramOf(dense); err != nil || h != before {
				t.Fatal("the dense form differs", err)
			}
		}
		h := HLL{bytes: b}
		h.Runs()
		i, r := int(index)%hllRegisters, rank%(hllHashRest+1)+1
		out, _, err := raise(bytes.Clone(b), i, r, 3000)
		if err != nil {
			if errBefore == nil {
				t.Fatal(err)
			}
			return
		}
		if _, err := histogramOf(out); err != nil && errBefore == nil {
			t.Fatal("raising a register has damaged a whole sketch", err)
		}
	})
}
