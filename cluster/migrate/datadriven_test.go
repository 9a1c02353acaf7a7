package migrate

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// The stories give one side a sequence of events, in any order, and show what it does.
func TestStories(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "export":
				return exportStory(t, d)
			case "import":
				return importStory(t, d)
			}
			t.Fatalf("%s: unknown command %s", d.Pos, d.Cmd)
			return ""
		})
	})
}

func exportStory(t *testing.T, d *datadriven.TestData) string {
	var x export
	var b strings.Builder
	for _, word := range strings.Fields(d.Input) {
		e := slices.Index(eventNames[:], word)
		if e < 0 {
			t.Fatalf("%s: unknown event %s", d.Pos, word)
		}
		act := x.next(event(e))
		fmt.Fprintf(&b, "%s: %v, %v", word, act, x.state)
		if x.tries > 0 {
			fmt.Fprintf(&b, ", tries %d", x.tries)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func importStory(t *testing.T, d *datadriven.TestData) string {
	var x intake
	var b strings.Builder
	for _, word := range strings.Fields(d.Input) {
		h := slices.Index(heardNames[:], word)
		if h < 0 {
			t.Fatalf("%s: unknown event %s", d.Pos, word)
		}
		fmt.Fprintf(&b, "%s: %v, %v\n", word, x.next(heard(h)), x.state)
	}
	return b.String()
}

// Whatever comes in whatever order, an export lets its commands go or undoes only while nothing is proposed, and ends as the group has said.
func FuzzExport(f *testing.F) {
	f.Add([]byte{0, 1, 1, 1, 1, 1, 1, 1, 8, 6, 1, 1})
	f.Add([]byte{0, 1, 3, 1, 1, 1, 1, 1, 1, 1, 1, 7, 1, 1})
	f.Fuzz(func(t *testing.T, events []byte) {
		var x export
		proposed, granted := false, false
		for _, e := range events {
			e := event(e) % event(len(eventNames))
			was := x.doing
			act := x.next(e)
			if was == actPropose {
				granted = granted || e == evGranted
				proposed = e != evGranted && e != evDenied
			}
			switch {
			case proposed && act != actPropose && act != actNone:
				t.Fatalf("%v although a proposal may still be granted", act)
			case act == actPropose:
				proposed = true
			case act == actDrop && !granted:
				t.Fatal("dropped without a grant")
			case granted && (x.state == Failed || x.state == Cancelled || act == actUndo || act == actLetGo):
				t.Fatalf("%v, %v after the grant", act, x.state)
			}
		}
	})
}

// Whatever comes in whatever order, an import that has said that it holds everything drops it only on the word of its source or of the group.
func FuzzImport(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4})
	f.Add([]byte{0, 1, 3, 6, 8})
	f.Fuzz(func(t *testing.T, events []byte) {
		var x intake
		ready := false
		for _, e := range events {
			h := heard(e) % heard(len(heardNames))
			switch task := x.next(h); {
			case task == taskReady:
				ready = true
			case task == taskDrop && ready && h != hearAbort && h != hearOthers:
				t.Fatalf("dropped after %v", h)
			case task == taskEnd && !ready:
				t.Fatal("served what is not whole")
			}
		}
	})
}
