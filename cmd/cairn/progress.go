package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// progress shows how far a long operation is: a bar in a terminal, now and then a line elsewhere.
type progress struct {
	out   io.Writer
	what  string
	unit  string
	began time.Time

	pool *mpb.Progress // nil when not in a terminal
	bar  *mpb.Bar

	mu    sync.Mutex
	done  int64
	total int64 // 0 when not known
	shown time.Time
	ended bool
}

// lineEvery is the time between lines where there is no terminal.
const lineEvery = 5 * time.Second

// newProgress begins to show an operation of total units; 0 for not known.
func newProgress(out io.Writer, what, unit string, total int64) *progress {
	p := &progress{out: out, what: what, unit: unit, total: total, began: time.Now(), shown: time.Now()}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.pool = mpb.New(mpb.WithOutput(out), mpb.WithWidth(50))
		name := mpb.PrependDecorators(decor.Name(what + " "))
		speed := decor.AverageSpeed(0, " %.0f "+unit+"/s")
		if total > 0 {
			p.bar = p.pool.AddBar(total, name, mpb.AppendDecorators(decor.CountersNoUnit("%d / %d "+unit), speed))
		} else {
			p.bar = p.pool.AddSpinner(0, name, mpb.AppendDecorators(decor.CurrentNoUnit("%d "+unit), speed))
		}
	}
	return p
}

// set tells how far the operation is.
func (p *progress) set(done int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = done
	if p.bar != nil {
		p.bar.SetCurrent(done)
		return
	}
	if time.Since(p.shown) < lineEvery {
		return
	}
	p.shown = time.Now()
	if p.total > 0 {
		fmt.Fprintf(p.out, "%s: %d of %d %s\n", p.what, done, p.total, p.unit)
	} else {
		fmt.Fprintf(p.out, "%s: %d %s\n", p.what, done, p.unit)
	}
}

// end says what was done in all. Idempotent.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	p.ended = true
	if p.bar != nil {
		p.bar.SetTotal(p.done, true)
		p.pool.Wait()
	}
	took := time.Since(p.began)
	fmt.Fprintf(p.out, "%s: %d %s in %v (%.0f %s/s)\n", p.what, p.done, p.unit, took.Round(time.Millisecond), float64(p.done)/took.Seconds(), p.unit)
}

// phases shows the phases of an operation that the engine reports in bytes, one after the other.
type phases struct {
	out     io.Writer
	what    string
	current *progress
}

func (p *phases) set(what string, done, total uint64) {
	if p.current == nil || what != p.what {
		p.end()
		p.what, p.current = what, newProgress(p.out, what, "MiB", int64(total>>20))
	}
	p.current.set(int64(done >> 20))
}

func (p *phases) end() {
	if p.current != nil {
		p.current.end()
	}
}
