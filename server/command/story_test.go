package command

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/engine/types"
)

// TestStories runs testdata/stories: commands with their replies, and what they leave in the store.
//
//	do       one command a line; "…" is unquoted as in Go, and a*N repeats a word N times
//	stored   the keys of database 0 as they are stored
//	advance  moves the clock by so many milliseconds
//
// Each file begins with an empty store and the clock at 1,000,000,000,000 ms.
func TestStories(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		h := newStory(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "do":
				return h.play(d.Input)
			case "stored":
				return h.stored()
			case "advance":
				var ms int
				d.ScanArgs(t, "ms", &ms)
				h.clock = h.clock.Add(time.Duration(ms) * time.Millisecond)
				return ""
			}
			t.Fatalf("unknown directive %q", d.Cmd)
			return ""
		})
	})
}

// story is a client of a node whose clock stands still.
type story struct {
	*testClient
	clock time.Time
}

func newStory(t testing.TB) *story {
	h := &story{clock: time.UnixMilli(1e12)}
	h.testClient = connect(t, startNodeAt(t, func() time.Time { return h.clock }))
	h.n.Store.SetActiveExpire(false) // its time would be the test's
	return h
}

func (h *story) play(input string) string {
	var out strings.Builder
	for line := range strings.Lines(input) {
		reply := h.do(words(h.t, strings.TrimSpace(line))...).String()
		if len(reply) > 200 {
			reply = reply[:60] + "..." + strconv.Itoa(len(reply))
		}
		out.WriteString(reply + "\n")
	}
	return out.String()
}

// words splits a line as TestStories describes.
func words(t testing.TB, line string) (out []string) {
	t.Helper()
	for line != "" {
		var word string
		if line[0] == '"' {
			quoted, err := strconv.QuotedPrefix(line)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			word, _ = strconv.Unquote(quoted)
			line = line[len(quoted):]
		} else {
			n := strings.IndexByte(line+" ", ' ')
			word, line = line[:n], line[n:]
			if text, count, ok := strings.Cut(word, "*"); ok {
				if n, err := strconv.Atoi(count); err == nil {
					word = strings.Repeat(text, n)
				}
			}
		}
		out = append(out, word)
		line = strings.TrimLeft(line, " ")
	}
	return out
}

// stored describes what is stored for every key of database 0, chunk by chunk.
func (h *story) stored() string {
	var out strings.Builder
	var names [][]byte
	_, err := h.n.Store.Scan(nil, h.n.Store.DB(0), 0, scanAll, -1, func(name []byte, _ engine.Record) {
		names = append(names, bytes.Clone(name))
	})
	if err != nil {
		h.t.Fatal(err)
	}
	for _, name := range names {
		h.describe(&out, engine.Key{Slot: keys.Slot(name), DB: h.n.Store.DB(0), Name: name})
	}
	return out.String()
}

func (h *story) describe(out *strings.Builder, k engine.Key) {
	h.x.Lock([]uint16{k.Slot}, false)
	defer h.x.Discard()
	rec, _, err := h.x.Get(k)
	if err != nil {
		h.t.Fatal(err)
	}
	fmt.Fprintf(out, "%q: %s", k.Name, types.TypeName(rec.Type))
	switch rec.Encoding {
	case keys.EncodingSpread:
		if rec.Type == keys.TypeString {
			fmt.Fprintf(out, ", %d bytes in chunks", rec.Count)
		} else {
			fmt.Fprintf(out, ", %d elements in %d bytes, %s", rec.Count, rec.Bytes, short(rec.Value))
		}
	case keys.EncodingRaw:
		fmt.Fprintf(out, ", raw %s", short(rec.Value))
	case keys.EncodingText:
		fmt.Fprintf(out, ", text %s", short(rec.Value))
	default:
		fmt.Fprintf(out, ", inline %s", short(rec.Value))
	}
	if rec.ExpireAt != 0 {
		fmt.Fprintf(out, ", expires at %d", rec.ExpireAt)
	}
	if rec.FieldExpireAt != 0 {
		fmt.Fprintf(out, ", a field expires at %d", rec.FieldExpireAt)
	}
	out.WriteByte('\n')
	if rec.Encoding != keys.EncodingSpread {
		return
	}
	err = h.x.ScanSub(k.Slot, rec.ID, nil, func(sub, value []byte) bool {
		fmt.Fprintf(out, "  %x: %s\n", sub, short(value))
		return true
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// short quotes a value, or describes a long one by its ends.
func short(v []byte) string {
	if len(v) <= 40 {
		return strconv.Quote(string(v))
	}
	return fmt.Sprintf("%q...%q (%d bytes)", v[:8], v[len(v)-8:], len(v))
}
