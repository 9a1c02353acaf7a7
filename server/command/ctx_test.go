package command

import (
	"fmt"
	"testing"

	"github.com/cairndb/cairn/engine"
)

// TestErrorText: what an operator is told about a full disk names the cause once, in words that are not the code's.
func TestErrorText(t *testing.T) {
	t.Parallel()
	full := fmt.Errorf("%w: %w: 5 MiB available", engine.ErrReadOnly, engine.ErrDiskFull)
	if got, want := ErrorText(full), "MISCONF The write was not applied: the disk is full or nearly: 5 MiB available"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
