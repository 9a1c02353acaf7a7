//go:build cairnstops

package migrate

import (
	"os"
	"strings"
	"syscall"
	"time"
)

// A binary that is built with the tag cairnstops looks for a file "stop-at" in its working folder at each step. It holds a point's
// name and what shall happen there: "kill" ends the process at once, "wait" waits until the file "stopped-at" is gone.

func reached(point string) {
	text, err := os.ReadFile("stop-at")
	if err != nil {
		return
	}
	name, what, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	if name != point || os.Rename("stop-at", "stopped-at") != nil {
		return
	}
	if what == "kill" {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	for {
		if _, err := os.Stat("stopped-at"); err != nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
}
