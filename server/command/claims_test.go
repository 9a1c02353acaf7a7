package command

import "testing"

func TestClaims(t *testing.T) {
	t.Parallel()
	var s Claims
	ended := func(done <-chan struct{}) bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
	first, second := newClaim(), newClaim()
	for _, name := range []string{"a", "b", "a"} { // twice in one request
		if wait := s.add(first, []byte(name)); wait != nil {
			t.Errorf("%s is claimed", name)
		}
	}
	if s.On([]byte("a")) == nil || s.On([]byte("c")) != nil || !s.Any() {
		t.Error("a and b are claimed, c is not")
	}
	if s.add(second, []byte("c")) != nil {
		t.Error("c was free")
	}
	wait := s.add(second, []byte("b"))
	if wait == nil || ended(wait) {
		t.Error("b belongs to the first claim")
	}
	s.end(first)
	if !ended(wait) || s.On([]byte("a")) != nil || s.On([]byte("c")) == nil {
		t.Error("the first claim has ended, the second has not")
	}
	if s.add(second, []byte("b")) != nil {
		t.Error("b is free again")
	}
	s.end(second)
	if s.Any() || len(s.by) != 0 {
		t.Error("nothing is claimed any more")
	}
}

// What a drain remembers is forgotten with the mark, also by a question that is still being answered.
func TestDrains(t *testing.T) {
	t.Parallel()
	var d Drains
	at, begin, fresh := d.of(7)
	if !fresh {
		t.Error("known already")
	}
	d.advance(7, at, []byte("somewhere behind"))
	if _, cursor, fresh := d.of(7); fresh || cursor <= begin {
		t.Errorf("at %d after %d", cursor, begin)
	}
	d.forget(7)
	d.advance(7, at, []byte("too late"))
	if _, cursor, fresh := d.of(7); !fresh || cursor != begin {
		t.Error("not forgotten")
	}
}
