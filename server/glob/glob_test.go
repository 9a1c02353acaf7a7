package glob

import (
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, name string
		fold, want    bool
	}{
		{"*", "anything", false, true}, {"", "", false, true}, {"", "a", false, false}, {"a", "", false, false},
		{"h?llo", "hello", false, true}, {"h?llo", "hllo", false, false}, {"h*llo", "heeeello", false, true},
		{"h[ae]llo", "hallo", false, true}, {"h[ae]llo", "hillo", false, false}, {"h[^e]llo", "hallo", false, true}, {"h[^e]llo", "hello", false, false},
		{"h[a-b]llo", "hbllo", false, true}, {"h[b-a]llo", "hallo", false, true}, {"[a-", "-", false, true}, {"[a-", "b", false, false}, {"[]a]", "]", false, false},
		{`\*`, "*", false, true}, {`\*`, "a", false, false}, {`[\]]`, "]", false, true}, {`a\`, `a\`, false, true},
		{"[abc", "c", false, true}, {"[^", "x", false, true}, {"a*b*c", "aXbYbZc", false, true}, {"a*b*c", "aXbYbZ", false, false},
		{"HELLO", "hello", true, true}, {"H[A-F]llo", "hELLO", true, true}, {"HELLO", "hello", false, false}, {"*\x00*", "a\x00b", false, true},
	} {
		if got := Match([]byte(c.pattern), []byte(c.name), c.fold); got != c.want {
			t.Errorf("%q matches %q (fold %v): %v", c.pattern, c.name, c.fold, got)
		}
	}
}

// TestMatchIsNotExponential would take ages if every star were retried.
func TestMatchIsNotExponential(t *testing.T) {
	t.Parallel()
	if Match([]byte(strings.Repeat("a*", 50)+"b"), []byte(strings.Repeat("a", 10000)), false) {
		t.Error("it matches")
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("h[a-z]*\\", "hello", true)
	f.Add("[^", "", false)
	f.Fuzz(func(t *testing.T, pattern, name string, fold bool) {
		Match([]byte(pattern), []byte(name), fold)
		if name != "" && !Match([]byte("*"), []byte(name), fold) {
			t.Fatal("a star does not match")
		}
	})
}
