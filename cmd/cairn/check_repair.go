package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/cairndb/cairn/engine"
	wal "github.com/cairndb/cairn/engine/log"
)

type repairLogCmd struct {
	Dir string `arg:"" type:"path" help:"The data folder of a node that is not running."`
	Yes bool   `help:"Do it without asking."`
}

// Help is shown by "cairn repair-log --help".
func (repairLogCmd) Help() string {
	return `For a log that is damaged or lacks a segment, so that the node does not start. Tells what can be kept and what is lost, asks, and then
begins a new log at the offset up to which the store has applied it, with the records from there up to the damage. A store that has applied
more than can still be read therefore loses nothing of that. The files as they were stay beside, in a folder named log-damaged-(time). At the end
it does what "cairn check" does: the store may hold parts of writes that are lost.

A backup or another copy of the data is always better. Without --yes and without a terminal it changes nothing.

Exit codes: 0 repaired, or nothing to repair; 1 not repaired; 3 repaired, but the check found damage.`
}

func (c *repairLogCmd) Run(out *output) error {
	if _, err := os.Stat(c.Dir); err != nil {
		return err
	}
	plan, err := engine.PlanLogRepair(c.Dir, engine.DefaultOptions())
	if err != nil {
		return folderError(c.Dir, err)
	}
	kept, err := c.repair(plan, out)
	if err = errors.Join(err, plan.Close()); err != nil {
		return folderError(c.Dir, err)
	}
	if kept == "" {
		fmt.Fprintf(out.stdout, "the log is sound; there is nothing to repair\n")
		return nil
	}
	fmt.Fprintf(out.stdout, "repaired; the files as they were are in %s\n", kept)
	return (&checkCmd{Dir: c.Dir}).Run(out)
}

// repair returns where the files as they were are kept, or nothing if the log is sound.
func (c *repairLogCmd) repair(plan *engine.LogRepair, out *output) (kept string, err error) {
	if plan.Damage == nil {
		return "", nil
	}
	printLogRepair(out.stdout, plan)
	if !c.Yes {
		if err := confirm(out.stdout, "Begin a new log with what can be kept?"); err != nil {
			return "", err
		}
	}
	return plan.Apply()
}

func printLogRepair(w io.Writer, p *engine.LogRepair) {
	if d := (*wal.DamagedError)(nil); errors.As(p.Damage, &d) {
		fmt.Fprintf(w, "damage  %s at log offset %d (%s, byte %d)\n", d.Reason, d.Offset, d.File, d.Pos)
	} else {
		fmt.Fprintf(w, "damage  %v\n", p.Damage)
	}
	fmt.Fprintf(w, "store   has applied the log up to offset %d\n", p.Applied)
	fmt.Fprintf(w, "keep    offsets %d to %d: %d records", p.Log.From, p.Log.End, p.Log.Records)
	if p.Log.Records > 0 {
		fmt.Fprintf(w, ", the last of %s", clock(p.Log.LastWall))
	}
	fmt.Fprintln(w)
	lost := &p.Log.Lost
	if lost.End == p.Log.End {
		fmt.Fprintln(w, "lose    nothing that is known")
		return
	}
	fmt.Fprintf(w, "lose    offsets %d to %d, as far as is known: %d bytes\n", p.Log.End, lost.End, lost.End-p.Log.End)
	if p.Reach > p.Log.End {
		fmt.Fprintf(w, "        of which the store may hold parts, up to offset %d: the check at the end tells whether it agrees with itself\n", p.Reach)
	}
	if lost.Records == 0 {
		fmt.Fprintln(w, "        of which nothing can be read")
		return
	}
	fmt.Fprintf(w, "        of which %d records (%d bytes) can be read, but do not follow what is kept: written from %s to %s, in %d slots\n",
		lost.Records, lost.Bytes, clock(lost.FirstWall), clock(lost.LastWall), lost.Slots)
}

func clock(millis int64) string { return time.UnixMilli(millis).Format("2006-01-02 15:04:05.000") }

// confirm asks, where there is somebody to ask.
func confirm(w io.Writer, question string) error {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return errors.New("nothing was changed; --yes does it without asking")
	}
	fmt.Fprint(w, question, " Type yes: ")
	answer, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil || strings.TrimSpace(answer) != "yes" {
		return errors.New("nothing was changed")
	}
	return nil
}
