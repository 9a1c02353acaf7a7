package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// collect keeps how all nodes saw the cluster when something was found wrong; their stacks go to their logs.
func (f *fleet) collect() {
	var b strings.Builder
	for i, n := range f.nodes {
		fmt.Fprintf(&b, "==== node%d %s, process %d\n", i, n.Addr(), n.PID())
		for _, command := range [][]string{{"CLUSTER", "INFO"}, {"CLUSTER", "NODES"}, {"INFO", "replication"}} {
			v, err := askAt(n.Addr(), time.Second, command...)
			fmt.Fprintf(&b, "== %s: %v\n%s\n", strings.Join(command, " "), err, strings.ReplaceAll(v.Text, "\r", ""))
		}
	}
	_ = os.WriteFile(filepath.Join(f.dir, "state.txt"), []byte(b.String()), 0o644)
	for _, n := range f.nodes {
		_ = n.Signal(syscall.SIGQUIT)
	}
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if !f.anyRunning() {
			return
		}
	}
}

func (f *fleet) anyRunning() bool {
	for _, n := range f.nodes {
		if n.Running() {
			return true
		}
	}
	return false
}
