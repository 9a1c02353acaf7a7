package log

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// someRecords is a segment file with a few records of all kinds.
func someRecords() []byte {
	b := (&segmentHeader{previous: noSegment}).encode()
	h := recordHeader{kind: KindTerm}
	for _, r := range []struct {
		kind    Kind
		slots   []uint16
		payload []byte
	}{
		{KindTerm, nil, []byte(testID(1))},
		{KindBatch, []uint16{0, 16383}, []byte("payload")},
		{KindFlushAll, nil, nil},
		{KindBatch, []uint16{5}, make([]byte, 300)},
	} {
		size, _ := recordSize(r.slots, [][]byte{r.payload})
		h = recordHeader{offset: h.end(), link: h.crc, kind: r.kind, wall: 1}
		b = appendRecord(b, &h, r.slots, [][]byte{r.payload}, size)
	}
	return b
}

// FuzzRecord: any bytes are read without a panic, within bounded memory, and what is taken
// for a record is exactly what encoding it gives.
func FuzzRecord(f *testing.F) {
	good := someRecords()[segmentHeaderSize:]
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(make([]byte, 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		reseal := bytes.Clone(b) // make it likelier that something is a record
		if len(reseal) >= recordHeaderSize {
			reseal[4], reseal[5], reseal[6], reseal[7] = byte(len(b)), byte(len(b)>>8), byte(len(b)>>16), 0
			clear(reseal[8:24])
			reseal = sealed(reseal)
		}
		for _, b := range [][]byte{b, reseal} {
			checkReader(t, b)
		}
	})
}

func sealed(b []byte) []byte {
	reseal(b)
	return b
}

func checkReader(t *testing.T, b []byte) {
	file := append(make([]byte, segmentHeaderSize), b...)
	in := newReader(vfs.NewMemFile(file), 0, 0, int64(len(file)))
	for {
		rec, h, err := in.next()
		if err == io.EOF || isNoRecord(err) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		again := appendRecord(nil, &h, rec.Slots, [][]byte{rec.Payload}, int64(rec.End-rec.Start))
		if !bytes.Equal(again, b[rec.Start:rec.End]) {
			t.Fatalf("%x is read as %x", b[rec.Start:rec.End], again)
		}
	}
	if _, err := in.scanRest(in.pos); err != nil {
		t.Fatal(err)
	}
	if cap(in.buf) > max(len(file), 64<<10) {
		t.Fatalf("a buffer of %d bytes for %d", cap(in.buf), len(file))
	}
}

// FuzzOpen: a folder with any segment and any state opens or gives an error, and
// once it has opened it works.
func FuzzOpen(f *testing.F) {
	s := state{newest: noSegment, terms: []Term{{testID(1), 0}}}
	f.Add(someRecords(), s.encode())
	f.Add(someRecords()[:200], []byte{})
	f.Add([]byte{}, s.encode())
	f.Fuzz(func(t *testing.T, segment, state []byte) {
		fs := vfs.NewMem()
		if err := createDir(fs, testDir[:5]); err != nil {
			t.Fatal(err)
		}
		if err := createDir(fs, testDir); err != nil {
			t.Fatal(err)
		}
		writeFile(t, fs, testDir+"/"+segmentName(0), segment)
		if len(state) > 0 {
			writeFile(t, fs, testDir+"/"+stateName, state)
		}
		l, err := Open(testDir, Options{FS: fs})
		if err != nil {
			return
		}
		before := mustReadAll(t, l)
		if _, err := l.Append(KindBatch, nil, []byte("more")); err != nil {
			t.Fatal(err)
		}
		if after := mustReadAll(t, l); len(after) != len(before)+1 {
			t.Fatal(len(after), len(before))
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzState(f *testing.F) {
	s := state{synced: 12, newest: 4096, terms: []Term{{testID(1), 0}, {testID(2), 300}}}
	f.Add(s.encode())
	f.Add((&state{newest: noSegment}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeState(b)
		if err != nil {
			return
		}
		if again, err := decodeState(s.encode()); err != nil || again.synced != s.synced || again.newest != s.newest || len(again.terms) != len(s.terms) {
			t.Fatal(errors.Join(err, errors.New("state does not survive")))
		}
	})
}
