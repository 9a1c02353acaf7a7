package main

import (
	"context"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

// router knows who owns which slot, as the clients have been told last.
type router struct {
	fleet *fleet

	mu      sync.Mutex
	owners  [testnode.Slots]string
	asked   time.Time
	strange map[string]int // error replies that are no redirect, by their first words
}

func newRouter(f *fleet) *router { return &router{fleet: f, strange: make(map[string]int)} }

func (r *router) owner(slot uint16) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.owners[slot]
}

// moved takes a MOVED's word.
func (r *router) moved(slot uint16, address string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.owners[slot] = address
}

// refreshPace bounds how often the map is asked for by all clients together.
const refreshPace = 50 * time.Millisecond

// refresh asks some node for the whole map. A node that is cut off gives an old one; who is sent astray asks again.
func (r *router) refresh() {
	r.mu.Lock()
	if time.Since(r.asked) < refreshPace {
		r.mu.Unlock()
		return
	}
	r.asked = time.Now()
	r.mu.Unlock()
	known := r.fleet.known()
	v, err := askAt(known[rand.IntN(len(known))], 300*time.Millisecond, "CLUSTER", "NODES")
	if err != nil {
		return
	}
	table := parseNodes(v.Text)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range table {
		for _, part := range o.slots {
			first, last, pair := strings.Cut(part, "-")
			if !pair {
				last = first
			}
			a, _ := strconv.Atoi(first)
			b, _ := strconv.Atoi(last)
			for s := a; s <= b && s < testnode.Slots; s++ {
				r.owners[s] = o.address
			}
		}
	}
}

// note counts an error reply.
func (r *router) note(text string) {
	words := strings.Fields(text)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.strange[strings.Join(words[:min(7, len(words))], " ")]++
}

// outcome is what is known of an operation.
type outcome int

const (
	acknowledged outcome = iota
	refused              // it was not applied: all answers were redirects and the like
	unknown              // it may have been applied, or may be yet
)

// client is one connection to each node, used by one goroutine.
type client struct {
	router  *router
	rng     *rand.Rand
	conns   map[string]*wire.Conn
	timeout time.Duration
	// stray is how often, of a hundred times, a command is first sent to some node other than its owner.
	stray int
}

func newClient(r *router, seed uint64) *client {
	return &client{router: r, rng: rand.New(rand.NewPCG(seed, 7)), conns: make(map[string]*wire.Conn), timeout: 2 * time.Second, stray: 5}
}

func (c *client) close() {
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	clear(c.conns)
}

func (c *client) conn(address string) (*wire.Conn, error) {
	if conn := c.conns[address]; conn != nil {
		return conn, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	conn, err := wire.DialContext(ctx, address)
	if err != nil {
		return nil, err
	}
	conn.Timeout = c.timeout
	c.conns[address] = conn
	return conn, nil
}

func (c *client) drop(address string) {
	if conn := c.conns[address]; conn != nil {
		_ = conn.Close()
		delete(c.conns, address)
	}
}

// result is how an operation went. Only its last attempt counts: the ones before were refused, and so did nothing.
type result struct {
	outcome outcome
	replies []wire.Value // of all the commands, when acknowledged
	by      string       // the node that acknowledged
	call    time.Time
	end     time.Time
}

// do runs commands of one slot: one, or a transaction of several in MULTI and EXEC. It follows redirects until ctx ends.
func (c *client) do(ctx context.Context, commands ...[]string) result {
	slot := keys.Slot([]byte(commands[0][1]))
	if len(commands) > 1 {
		commands = append(append([][]string{{"MULTI"}}, commands...), []string{"EXEC"})
	}
	asking := ""
	for attempt := 0; ; attempt++ {
		address := c.router.owner(slot)
		switch {
		case asking != "":
			address = asking
		case address == "" || attempt == 0 && c.rng.IntN(100) < c.stray || attempt%8 == 7:
			address = pick(c.rng, c.router.fleet.known())
		}
		r := c.attempt(address, slot, commands, &asking)
		if r.outcome != refused || ctx.Err() != nil {
			return r
		}
		if attempt > 0 && asking == "" {
			pause(ctx, time.Duration(min(attempt, 10))*time.Millisecond)
		}
	}
}

// attempt sends the commands to one node.
func (c *client) attempt(address string, slot uint16, commands [][]string, asking *string) result {
	ask := *asking != ""
	*asking = ""
	r := result{outcome: refused, by: address, call: time.Now()}
	conn, err := c.conn(address)
	if err != nil {
		c.router.refresh()
		return r
	}
	r.outcome = unknown
	r.replies, err = exchange(conn, commands, ask)
	r.end = time.Now()
	if err != nil {
		c.drop(address)
		c.router.refresh()
		return r
	}
	for _, v := range r.replies {
		if v.IsError() && answers(v.Text) {
			continue
		}
		if v.IsError() { // of a transaction the first error says why
			if last := r.replies[len(r.replies)-1]; last.IsError() {
				r.outcome = c.judge(v.Text, slot, asking)
			} else {
				c.router.note("EXEC in spite of: " + v.Text)
			}
			return r
		}
	}
	if len(commands) > 1 {
		r.replies = r.replies[len(r.replies)-1].Elems
		for _, v := range r.replies {
			if v.IsError() {
				c.router.note(v.Text)
				return r
			}
		}
	}
	r.outcome = acknowledged
	return r
}

// answers says whether an error is the answer to a command that was executed.
func answers(text string) bool {
	return strings.HasPrefix(text, "BUSYGROUP ") || strings.HasPrefix(text, "NOGROUP ")
}

// exchange sends all commands at once and reads their replies.
func exchange(conn *wire.Conn, commands [][]string, ask bool) ([]wire.Value, error) {
	if ask {
		commands = append([][]string{{"ASKING"}}, commands...)
	}
	for _, args := range commands {
		if err := conn.Send(args...); err != nil {
			return nil, err
		}
	}
	if err := conn.Flush(); err != nil {
		return nil, err
	}
	replies := make([]wire.Value, len(commands))
	for i := range replies {
		var err error
		if replies[i], err = conn.Receive(); err != nil {
			return nil, err
		}
	}
	if ask {
		replies = replies[1:]
	}
	return replies, nil
}

// judge says what an error reply means for the command.
func (c *client) judge(text string, slot uint16, asking *string) outcome {
	kind, rest, _ := strings.Cut(text, " ")
	switch kind {
	case "MOVED":
		if _, address, ok := strings.Cut(rest, " "); ok {
			c.router.moved(slot, address)
		}
		return refused
	case "ASK":
		_, *asking, _ = strings.Cut(rest, " ")
		return refused
	case "TRYAGAIN", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "READONLY":
		c.router.refresh()
		return refused
	}
	c.router.note(text)
	if strings.Contains(text, "was not applied") {
		return refused
	}
	return unknown
}
