package command

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func slowCtx(name string, args ...string) *Ctx {
	c := &Ctx{Session: &Session{Addr: "127.0.0.1:5", Name: "me"}, Cmd: &Command{Name: name}}
	for _, a := range args {
		c.Args = append(c.Args, []byte(a))
	}
	return c
}

func TestSlowlogKeepsTheNewest(t *testing.T) {
	t.Parallel()
	var l Slowlog
	for i := range 10 {
		l.add(slowCtx("get", "GET", fmt.Sprint(i)), time.Unix(int64(i), 0), time.Second, 3)
	}
	got := l.newest(-1)
	if len(got) != 3 || l.Len() != 3 {
		t.Fatalf("%d entries, want 3", len(got))
	}
	for i, e := range got {
		if e.id != int64(9-i) || e.args[1] != fmt.Sprint(9-i) || e.addr != "127.0.0.1:5" || e.name != "me" {
			t.Errorf("entry %d is %+v", i, e)
		}
	}
	if n := len(l.newest(2)); n != 2 {
		t.Errorf("2 were asked for, %d came", n)
	}
	l.Reset()
	l.add(slowCtx("get", "GET"), time.Unix(1, 0), time.Second, 3)
	if e := l.newest(-1); len(e) != 1 || e[0].id != 10 {
		t.Errorf("after a reset: %+v", e)
	}
	l.add(slowCtx("get", "GET"), time.Unix(1, 0), time.Second, 0)
	if l.Len() != 0 {
		t.Error("slowlog-max-len 0 keeps entries")
	}
}

func TestSlowlogShortensArguments(t *testing.T) {
	t.Parallel()
	args := []string{"MSET", strings.Repeat("x", 200)}
	for i := range 40 {
		args = append(args, fmt.Sprint(i))
	}
	c := slowCtx("mset", args...)
	got := slowlogArgs(c.Cmd, c.Args)
	if len(got) != slowlogMaxArgs {
		t.Fatalf("%d arguments", len(got))
	}
	if want := strings.Repeat("x", 128) + "... (72 more bytes)"; got[1] != want {
		t.Errorf("long argument: %q", got[1])
	}
	if want := "... (11 more arguments)"; got[31] != want {
		t.Errorf("last argument: %q, want %q", got[31], want)
	}
}

func TestSlowlogHidesPasswords(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"AUTH", "secret"},
		{"AUTH", "default", "secret"},
		{"HELLO", "3", "AUTH", "default", "secret", "SETNAME", "x"},
		{"CONFIG", "SET", "maxclients", "5", "RequirePass", "secret"},
		{"CONFIG", "SET", "masterauth", "secret"},
		{"MIGRATE", "host", "6379", "", "0", "1000", "COPY", "AUTH", "secret", "KEYS", "a"},
		{"MIGRATE", "host", "6379", "a", "0", "1000", "AUTH2", "user", "secret"},
	} {
		name := strings.ToLower(args[0])
		if name == "config" {
			name = "config|set"
		}
		c := slowCtx(name, args...)
		if got := strings.Join(slowlogArgs(c.Cmd, c.Args), " "); strings.Contains(got, "secret") || !strings.Contains(got, "(redacted)") {
			t.Errorf("%v is kept as %q", args, got)
		}
	}
}
