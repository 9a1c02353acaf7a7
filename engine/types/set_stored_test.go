package types

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/cairndb/cairn/engine"
)

// TestSetStored shows what is stored after each step. A line of input names a set and an operation; the set {s} is dumped in the end.
func TestSetStored(t *testing.T) {
	t.Parallel()
	s := openClocked(t, newClock())
	datadriven.RunTest(t, "testdata/set", func(t *testing.T, d *datadriven.TestData) string {
		p := engine.DefaultPacking()
		d.MaybeScanArgs(t, "ints", &p.SetInts)
		d.MaybeScanArgs(t, "entries", &p.SetEntries)
		d.MaybeScanArgs(t, "value", &p.SetValue)
		d.MaybeScanArgs(t, "bytes", &p.Bytes)
		s.SetPacking(p)
		tx := locked(s, key("{s}"))
		defer tx.Discard()
		var out strings.Builder
		for line := range strings.Lines(d.Input) {
			fmt.Fprintln(&out, setStep(t, tx, strings.Fields(line)))
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		checkStore(t, s)
		tx.Lock([]uint16{key("{s}").Slot}, true)
		return out.String() + dumpKey(t, tx, key("{s}"))
	})
}

func setStep(t *testing.T, tx *engine.Txn, words []string) string {
	t.Helper()
	open := func(names []string) (sets []Set) {
		for _, name := range names {
			set, err := OpenSet(tx, key("{s}"+strings.TrimPrefix(name, "s")))
			if err != nil {
				t.Fatal(err)
			}
			sets = append(sets, set)
		}
		return sets
	}
	set, args := open(words[:1])[0], words[2:]
	var list [][]byte
	for _, a := range args {
		list = append(list, []byte(a))
	}
	n, err := int64(0), error(nil)
	switch op := words[1]; op {
	case "add":
		n, err = set.Add(list)
	case "remove":
		n, err = set.Remove(list)
	case "inter":
		n, err = InterStore(tx, set.key, open(args))
	case "union":
		n, err = UnionStore(tx, set.key, open(args))
	case "diff":
		n, err = DiffStore(tx, set.key, open(args))
	case "all":
		var all []string
		err = set.Each(func(member []byte) bool {
			all = append(all, string(member))
			return true
		})
		return fmt.Sprintf("all: %q %v", all, err)
	default:
		t.Fatalf("no operation %s", op)
	}
	return fmt.Sprintf("%s: %d %v", words[1], n, err)
}
