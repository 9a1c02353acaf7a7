package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/poll"
)

// Slots may be moved on as soon as a node says that it owns them, and again as soon as a migration was cancelled: what an earlier migration has still to do is waited
// for.
func TestSlotsMoveOnAtOnce(t *testing.T) {
	t.Parallel()
	nodes := startStoppable(t)
	source, target, _ := parts(t, nodes)
	const keys = 20_000
	load(t, nodes, "still", keys)
	first := firstSlot(t, source)
	last := first + 99

	arm(t, target, "import:ended wait")
	do(t, source, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", strconv.Itoa(first), strconv.Itoa(last), "NODE", idOf(t, target))
	stopped := filepath.Join(target.Dir, "stopped-at")
	poll.Within(t, "the import stops before its end", time.Minute, func() bool { _, err := os.Stat(stopped); return err == nil })
	if owner := slotOwner(do(t, target, "CLUSTER", "NODES"), first); owner != idOf(t, target) {
		t.Fatalf("the slots are %s's", owner)
	}
	conn, err := target.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Timeout = time.Minute
	back := []string{"CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", strconv.Itoa(first), strconv.Itoa(last), "NODE", idOf(t, source)}
	if err := errors.Join(conn.Send(back...), conn.Flush(), os.Remove(stopped)); err != nil {
		t.Fatal(err)
	}
	if v, err := conn.Receive(); err != nil || v.Err() != nil {
		t.Fatalf("back again: %v, %v", v, err)
	}
	poll.Within(t, "they are back", time.Minute, func() bool { return migrations(t, target)[0]["state"] == "success" })

	do(t, source, "CONFIG", "SET", "slot-migration-max-bandwidth", "10000")
	do(t, source, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", strconv.Itoa(first), strconv.Itoa(last), "NODE", idOf(t, target))
	poll.Within(t, "it copies", time.Minute, func() bool { return migrations(t, source)[0]["state"] == "snapshotting" })
	do(t, source, "CLUSTER", "CANCELSLOTMIGRATIONS")
	do(t, source, "CONFIG", "SET", "slot-migration-max-bandwidth", "0")
	moveSlots(t, source, target, first, last)
	verify(t, nodes, "still", keys)
}
