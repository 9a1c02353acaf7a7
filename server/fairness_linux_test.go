package server

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// A connection with an enormous pipeline holds up the others for about a group: who asks is answered in the same turn of
// the loop, in which no more than two groups of the pipeline are run, one read and one left from before.
func TestEnormousPipelineIsFair(t *testing.T) {
	for name, requests := range map[string]string{
		"writes": "INCR n\r\n",
		"cheap":  "INCR n\r\n" + strings.Repeat("PING\r\n", 9),
		"large":  "INCR n\r\nECHO " + strings.Repeat("v", 20_000) + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checkFairness(t, requests)
		})
	}
}

// away says that a worker has the connection.
func away(c *conn) bool { return c != nil && c.phase != serving }

// checkFairness sends the requests, of which one is INCR n, again and again.
func checkFairness(t *testing.T, requests string) {
	srv := start(t, setup{still: true})
	l := srv.driver.(*epollDriver).loops[0]
	events := make([]unix.EpollEvent, maxEvents)
	defer func() {
		for l.drain.Store(true); !l.drained; {
			l.turn(events)
		}
	}()
	greedy, other := srv.dial(), srv.dial()
	first := make(chan error, 1)
	go func() {
		_, err := other.Must("SET", "n", "0")
		first <- err
	}()
	for len(first) == 0 { // perhaps by way of a worker
		l.turn(events)
	}
	if err := <-first; err != nil {
		t.Fatal(err)
	}

	times := min(100_000, 32<<20/len(requests))
	pipeline := bytes.Repeat([]byte(requests), times)
	var client sync.WaitGroup
	defer client.Wait()
	defer greedy.Close()
	client.Go(func() { _, _ = greedy.Write(pipeline) })
	client.Go(func() { _, _ = io.Copy(io.Discard, greedy.Conn) })
	last := int64(0)
	for last < int64(times)/4 {
		other.Send("INCRBY", "n", "0")
		if err := other.Flush(); err != nil {
			t.Fatal(err)
		}
		l.turn(events)
		direct := true // without the help of a worker
		for ; slices.ContainsFunc(l.conns, away); direct = false {
			l.turn(events)
		}
		v, err := other.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if ran := (v.Int() - last) * int64(strings.Count(requests, "\n")); direct && ran > 2*groupCommands {
			t.Errorf("%d commands were run in between", ran)
		}
		last = v.Int()
	}
}
