package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/testnode"
)

// TestRepairLog flips a bit in the log of a killed node: it does not start and says what to do; after that it starts, sound.
func TestRepairLog(t *testing.T) {
	t.Parallel()
	n := testnode.StartCairn(t, "--appendfsync", "always")
	if out := cairn(t, exitFailure, "repair-log", n.Dir); !strings.Contains(out, "in use by another process") {
		t.Errorf("repair of a running node:\n%s", out)
	}
	const keys = 100
	for i := range keys {
		do(t, n.Port, "SET", fmt.Sprint("key:", i), strings.Repeat("v", 500))
	}
	n.Kill()
	segments, err := filepath.Glob(filepath.Join(n.Dir, "log", "*.log"))
	if err != nil || len(segments) != 1 {
		t.Fatalf("%v, %v", segments, err)
	}
	if out := cairn(t, exitOK, "repair-log", n.Dir); !strings.Contains(out, "nothing to repair") {
		t.Errorf("repair of a sound log:\n%s", out)
	}
	content, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	content[30_000] ^= 1
	if err := os.WriteFile(segments[0], content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err == nil || !strings.Contains(n.Log(), "cairn repair-log") {
		t.Fatalf("a damaged log: %v\n%s", err, n.Log())
	}
	out := cairn(t, exitFailure, "repair-log", n.Dir)
	for _, want := range []string{"record checksum mismatch", "applied the log up to offset 0", "keep ", "can be read", "--yes"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing:\n%s", want, out)
		}
	}
	if got, err := os.ReadFile(segments[0]); err != nil || string(got) != string(content) {
		t.Errorf("changed without --yes: %v", err)
	}
	out = cairn(t, exitOK, "repair-log", "--yes", n.Dir)
	t.Log(out)
	if !strings.Contains(out, "is sound") {
		t.Errorf("repair-log says:\n%s", out)
	}
	kept, err := filepath.Glob(filepath.Join(n.Dir, "log-damaged-*", filepath.Base(segments[0])))
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept: %v, %v", kept, err)
	}
	if got, err := os.ReadFile(kept[0]); err != nil || string(got) != string(content) {
		t.Errorf("what is kept is not what was there: %v", err)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	if v := do(t, n.Port, "DBSIZE"); v.Int() == 0 || v.Int() >= keys {
		t.Errorf("%v keys", v)
	}
	if v := do(t, n.Port, "GET", "key:0"); len(v.Text) != 500 {
		t.Errorf("the first key is %v", v)
	}
	if err := n.Stop(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	cairn(t, exitOK, "check", n.Dir)
}
