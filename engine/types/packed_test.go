package types

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cairndb/cairn/engine"
)

// FuzzEntries: whatever decodes is what encoding its entries gives, and damage is ErrCorrupt.
func FuzzEntries(f *testing.F) {
	f.Add([]byte("\x01a\x00\x02bc"))
	f.Add(appendEntry(nil, make([]byte, 300)))
	f.Add([]byte("\x05ab"))
	f.Add([]byte("\x80\x00"))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, p []byte) {
		var again []byte
		for rest := p; len(rest) > 0; {
			entry, next, err := takeEntry(rest)
			if err != nil {
				if !errors.Is(err, engine.ErrCorrupt) {
					t.Fatal(err)
				}
				return
			}
			if n := len(rest) - len(next); n != entryLen(len(entry)) {
				t.Fatalf("an entry of %d bytes takes %d, not %d", len(entry), n, entryLen(len(entry)))
			}
			again, rest = appendEntry(again, entry), next
		}
		if !bytes.Equal(again, p) {
			t.Fatalf("%x decodes as %x", p, again)
		}
	})
}
