package command

import (
	"strings"
	"sync"
	"testing"
	"time"
)

func TestClientsAreListedInOrder(t *testing.T) {
	t.Parallel()
	var r Clients
	sessions := make([]*Session, 100)
	for i := range sessions {
		sessions[i] = &Session{}
		r.Add(sessions[i])
	}
	r.Remove(sessions[50])
	last := uint64(0)
	n := 0
	r.Each(func(s *Session) bool {
		if s.ID <= last || s == sessions[50] {
			t.Errorf("session %d after %d", s.ID, last)
		}
		last = s.ID
		n++
		return true
	})
	if n != 99 || r.Len() != 99 {
		t.Errorf("%d sessions seen, %d registered", n, r.Len())
	}
	if s, ok := r.Get(sessions[7].ID); !ok || s != sessions[7] {
		t.Error("a session is not found by its ID")
	}
}

func TestClientsFromManyGoroutines(t *testing.T) {
	t.Parallel()
	var r Clients
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				s := &Session{Created: time.Now()}
				r.Add(s)
				s.setName("name")
				s.publish()
				r.Each(func(o *Session) bool {
					if !strings.HasPrefix(o.describe(time.Now()), "id=") {
						t.Error("not a line of CLIENT LIST")
					}
					return o != s
				})
				r.Remove(s)
			}
		})
	}
	all.Wait()
	if r.Len() != 0 {
		t.Errorf("%d sessions are left", r.Len())
	}
}

func TestPause(t *testing.T) {
	t.Parallel()
	var r Clients
	s := &Session{}
	get, set := &Command{Name: "get", Flags: ReadOnly}, &Command{Name: "set", Flags: Write}
	exec := &Command{Name: "exec"}
	paused := func(c *Command) bool { _, p := r.Paused(s, c); return p }
	if paused(set) {
		t.Error("paused from the start")
	}
	r.Pause(time.Now().Add(time.Hour), true)
	if !paused(set) || paused(get) {
		t.Error("a pause of writes must hold writes only")
	}
	s.InMulti, s.Queue = true, []Queued{{Cmd: get}}
	if paused(exec) {
		t.Error("EXEC of reads waits in a pause of writes")
	}
	s.Queue = append(s.Queue, Queued{Cmd: set})
	if !paused(exec) {
		t.Error("EXEC of a write does not wait")
	}
	r.Pause(time.Now().Add(time.Second), false)
	if !paused(get) {
		t.Error("a pause of all must hold reads")
	}
	if until, _ := r.Paused(s, set); time.Until(until) < time.Minute {
		t.Error("the second pause shortened the first")
	}
	resumed := r.Resumed()
	r.Unpause()
	<-resumed
	<-r.Resumed()
	if paused(set) {
		t.Error("still paused")
	}
	r.Pause(time.Now().Add(-time.Second), false)
	if paused(set) {
		t.Error("a pause that is over holds commands")
	}
}

// A hand-over and CLIENT PAUSE hold clients back at the same time; each ends its own.
func TestHoldAndPause(t *testing.T) {
	t.Parallel()
	var r Clients
	get, set := &Command{Name: "get", Flags: ReadOnly}, &Command{Name: "set", Flags: Write}
	check := func(when string, reads, writes bool) {
		t.Helper()
		for c, want := range map[*Command]bool{get: reads, set: writes} {
			if _, paused := r.Paused(&Session{}, c); paused != want {
				t.Errorf("%s: %s waits: %v", when, c.Name, paused)
			}
		}
	}
	soon, later := time.Now().Add(time.Minute), time.Now().Add(time.Hour)
	r.Pause(later, true)
	r.Hold(soon, true)
	check("writes are paused", false, true)
	r.Hold(soon, false)
	check("the node hands over", true, true)
	resumed := r.Resumed()
	r.LetGo()
	<-resumed
	check("the hand-over has ended", false, true)
	r.Hold(soon, false)
	r.Unpause()
	check("CLIENT UNPAUSE during a hand-over", true, true)
	r.LetGo()
	check("nothing holds any more", false, false)
}

func TestFinishReply(t *testing.T) {
	t.Parallel()
	s := &Session{}
	reply := func(fn func()) bool {
		from := len(s.Out.Buf)
		fn()
		s.FinishReply(from)
		return len(s.Out.Buf) > from
	}
	answer := func() { s.Out.OK() }
	if !reply(answer) {
		t.Error("no reply at first")
	}
	if reply(func() { s.ReplySkipNext = true }) || reply(answer) || !reply(answer) {
		t.Error("SKIP must drop the next reply and no more")
	}
	if reply(func() { s.ReplyOff = true }) || reply(answer) || reply(answer) {
		t.Error("OFF must drop every reply")
	}
	if !reply(func() { s.ReplyOff = false; answer() }) || !reply(answer) {
		t.Error("ON must answer")
	}
}
