// Package archtest guards the architecture: imports point only to packages of a lower rank.
package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/cairndb/cairn/"

// ranks is the table of the architecture: a package imports only packages of a lower rank. A name that ends in "/"
// stands for all packages below it.
var ranks = map[string]int{
	"engine/keys":     0,
	"engine/log":      0,
	"cluster/slotmap": 0,
	"server/resp":     0,
	"server/glob":     0,
	"server/config":   1,
	"engine":          1,
	"engine/types":    2,
	"engine/rdb":      3,
	"replication":     3,
	"cluster/epoch":   4,
	"cluster/gossip":  4,
	"cluster/migrate": 5,
	"cluster":         6,
	"server/command":  7,
	"server":          8,
	"cmd/":            9,
	"tools/":          9,
	"bench":           9,
	"bench/":          9,
}

// outside are the ranks whose packages may import each other: programs and what they share.
const outside = 9

// bare packages stay free of everything but the standard library.
var bare = []string{"engine/keys", "cluster/slotmap", "server/glob"}

type pkg struct {
	ImportPath string
	Imports    []string
}

func TestImportsPointDown(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		rank, ok := rankOf(name)
		if !ok {
			t.Errorf("%s has no rank: add it to the table here and to the architecture's", name)
			continue
		}
		for _, imp := range p.Imports {
			dep, ours := strings.CutPrefix(imp, module)
			if !ours {
				continue
			}
			if r, _ := rankOf(dep); r >= rank && !(r == outside && rank == outside) {
				t.Errorf("%s (rank %d) imports %s (rank %d)", name, rank, dep, r)
			}
		}
	}
}

func TestBarePackagesUseTheStandardLibraryOnly(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		for _, b := range bare {
			if p.ImportPath != module+b {
				continue
			}
			for _, imp := range p.Imports {
				if first, _, _ := strings.Cut(imp, "/"); strings.Contains(first, ".") {
					t.Errorf("%s imports %s", b, imp)
				}
			}
		}
	}
}

func rankOf(name string) (int, bool) {
	if r, ok := ranks[name]; ok {
		return r, true
	}
	for prefix, r := range ranks {
		if strings.HasSuffix(prefix, "/") && strings.HasPrefix(name, prefix) {
			return r, true
		}
	}
	return 0, false
}

// packages lists the module's packages with what they import, without their tests.
func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}
