package types

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cairndb/cairn/engine"
)

// benched runs commands on one key in transactions of as many as a turn of a busy server has.
type benched struct {
	b *testing.B
	s *engine.Store
	t *engine.Txn
	k engine.Key
}

func newBenched(b *testing.B) *benched {
	o := engine.DefaultOptions()
	o.FreeSpaceReserve, o.ExpireFields, o.Verify = 1<<20, ExpireFields, Verify
	s, err := engine.Open(b.TempDir(), o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return &benched{b: b, s: s, t: s.NewTxn(), k: engine.Key{Slot: 1, Name: []byte("key")}}
}

// run runs fn n times.
func (r *benched) run(n int, fn func() error) {
	const together = 200
	for n > 0 {
		r.must(r.s.AdmitWrite(r.b.Context()))
		for range min(n, together) {
			if !r.t.TryLock(r.k.Slot, true) {
				r.b.Fatal("locked")
			}
			r.must(fn())
			r.t.EndCommand()
		}
		n -= together
		r.must(r.t.Commit())
		_, err := r.s.FlushLog()
		r.must(err)
	}
}

func (r *benched) must(err error) {
	if err != nil {
		r.b.Helper()
		r.b.Fatal(err)
	}
}

// timed is run b.N times, reporting the process's CPU time an operation, flushes and compactions included.
func (r *benched) timed(fn func() error) {
	cpu := func() int64 {
		var u unix.Rusage
		r.must(unix.Getrusage(unix.RUSAGE_SELF, &u))
		return u.Utime.Nano() + u.Stime.Nano()
	}
	r.b.ReportAllocs()
	start := cpu()
	r.b.ResetTimer()
	r.run(r.b.N, fn)
	r.b.StopTimer()
	r.b.ReportMetric(float64(cpu()-start)/float64(r.b.N), "cpu-ns/op")
}

// BenchmarkList pushes to and pops from the ends of a list, and reads 100 elements.
func BenchmarkList(b *testing.B) {
	value := bytes.Repeat([]byte("x"), 128)
	list := func(r *benched, fn func(l *List) error) func() error {
		return func() error {
			l, err := OpenList(r.t, r.k)
			r.must(err)
			return fn(&l)
		}
	}
	for _, end := range []End{Left, Right} {
		name := []string{"left", "right"}[end]
		b.Run("push="+name, func(b *testing.B) {
			r := newBenched(b)
			r.run(1000, list(r, func(l *List) error { return l.Push(end, value) }))
			r.timed(list(r, func(l *List) error { return l.Push(end, value) }))
		})
		b.Run("pop="+name, func(b *testing.B) {
			r := newBenched(b)
			r.run(1000+b.N, list(r, func(l *List) error { return l.Push(Right, value) }))
			r.timed(list(r, func(l *List) error { _, err := l.PopOne(end); return err }))
		})
	}
	b.Run("range=100", func(b *testing.B) {
		r := newBenched(b)
		r.run(10_000, list(r, func(l *List) error { return l.Push(Left, value) }))
		r.timed(list(r, func(l *List) error { return l.Each(0, 100, false, func([]byte) bool { return true }) }))
	})
}

// BenchmarkStream adds entries to a stream, and reads and acknowledges them by a group.
func BenchmarkStream(b *testing.B) {
	fields := [][]byte{[]byte("field"), bytes.Repeat([]byte("x"), 128)}
	add := func(r *benched) func() error {
		return func() error {
			s, err := OpenStream(r.t, r.k)
			r.must(err)
			if !s.Exists() {
				r.must(s.Create(0))
				g, err := s.CreateGroup([]byte("group"), StreamID{}, 0)
				r.must(err)
				r.must(g.Save())
			}
			id, err := s.NextID(r.t.Now())
			r.must(err)
			r.must(s.Add(id, fields))
			return s.Save()
		}
	}
	read := func(r *benched, acknowledge bool) func() error {
		var ids []StreamID
		group := func() *Group {
			s, err := OpenStream(r.t, r.k)
			r.must(err)
			g, err := s.Group([]byte("group"))
			r.must(err)
			return g
		}
		return func() error {
			g := group()
			c, _, err := g.CreateConsumer([]byte("consumer"))
			r.must(err)
			g.SetTimes(c, r.t.Now(), c.Active)
			ids = ids[:0]
			r.must(g.Deliver(c, 1, false, func(id StreamID, _ Fields) { ids = append(ids, id) }))
			r.must(g.Save())
			if !acknowledge {
				return nil
			}
			g = group()
			n, err := g.Acknowledge(ids)
			if n != 1 {
				b.Fatal(n)
			}
			r.must(err)
			return g.Save()
		}
	}
	b.Run("add", func(b *testing.B) {
		r := newBenched(b)
		r.run(1000, add(r))
		r.timed(add(r))
	})
	for _, acknowledge := range []bool{false, true} {
		b.Run([]string{"read", "read+acknowledge"}[map[bool]int{true: 1}[acknowledge]], func(b *testing.B) {
			r := newBenched(b)
			r.run(b.N, add(r))
			r.timed(read(r, acknowledge))
		})
	}
}
