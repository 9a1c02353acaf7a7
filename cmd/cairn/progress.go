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

	mu          sync.Mutex
	done, total int64
	shown       time.Time
}

// lineEvery is the time between lines where there is no terminal.
const lineEvery = 5 * time.Second

// newProgress begins to show an operation of total units; 0 for not known yet.
func newProgress(out io.Writer, what, unit string, total int64) *progress {
	p := &progress{out: out, what: what, unit: unit, total: total, began: time.Now(), shown: time.Now()}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.pool = mpb.New(mpb.WithOutput(out), mpb.WithWidth(60))
		p.bar = p.pool.AddBar(total,
			mpb.PrependDecorators(decor.Name(what+" ")),
			mpb.AppendDecorators(decor.CountersNoUnit("%d / %d "+unit), decor.Name(" "), decor.AverageSpeed(0, "%.0f/s")))
	}
	return p
}

// set tells how far the operation is, and how far it goes.
func (p *progress) set(done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done, p.total = done, total
	if p.bar != nil {
		p.bar.SetTotal(total, false)
		p.bar.SetCurrent(done)
		return
	}
	if time.Since(p.shown) >= lineEvery {
		p.shown = time.Now()
		fmt.Fprintf(p.out, "%s: %d of %d %s\n", p.what, done, total, p.unit)
	}
}


// end says what was done in all. Idempotent.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.began.IsZero() {
		return
	}
	if p.bar != nil {
		p.bar.SetTotal(p.done, true)
		p.pool.Wait()
	}
	took := time.Since(p.began)
	fmt.Fprintf(p.out, "%s: %d %s in %v (%.0f/s)\n", p.what, p.done, p.unit, took.Round(time.Millisecond), float64(p.done)/took.Seconds())
	p.began = time.Time{}
}
