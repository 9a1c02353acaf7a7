package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cairndb/cairn/tools/difftest/differences"
	"github.com/cairndb/cairn/tools/testnode"
	"github.com/cairndb/cairn/tools/wire"
)

// maxBurst commands in a row are sent at once before their replies are read.
const maxBurst = 16

// closed stands for the reply of a server that ended the connection instead.
var closed = wire.Value{Kind: '?', Text: "(connection closed)"}

// silent stands for the reply of a server that sends none in time.
var silent = wire.Value{Kind: '?', Text: "(no reply)"}

// server is one side of the comparison.
type server struct {
	node    *testnode.Node // of a cluster the first
	cluster *cluster       // nil for one node alone
	conns   [connections]conn
}

// conn is a connection to a server, or those to the nodes of a cluster.
type conn interface {
	Send(args ...string) error
	Flush() error
	Receive() (wire.Value, error)
	Do(args ...string) (wire.Value, error)
	Must(args ...string) (wire.Value, error)
	SetTimeout(time.Duration)
	Close() error
}

// single is the connection to one node alone.
type single struct{ *wire.Conn }

func (s single) SetTimeout(d time.Duration) { s.Timeout = d }

func (s *server) dial(i int) error {
	if s.conns[i] != nil {
		s.conns[i].Close()
		s.conns[i] = nil
	}
	if s.cluster != nil {
		c, err := s.cluster.dial()
		if err == nil {
			s.conns[i] = c
		}
		return err
	}
	c, err := s.node.Dial()
	if err == nil {
		c.Timeout = 30 * time.Second
		s.conns[i] = single{c}
	}
	return err
}

func (s *server) dialAll() error {
	for i := range s.conns {
		if err := s.dial(i); err != nil {
			return err
		}
	}
	return nil
}

// difference is a step that the servers answered differently.
type difference struct {
	index        int // of the step; len(steps) for the state after the last
	step         step
	redis, cairn string
}

func (d *difference) String() string {
	return fmt.Sprintf("%v\n  redis: %s\n  cairn: %s", d.step, shorten(d.redis), shorten(d.cairn))
}

// kind is the same for differences that most likely have one cause.
func (d *difference) kind() string {
	name := ""
	if len(d.step.args) > 0 && d.step.kind == stepCommand {
		name = strings.ToLower(d.step.args[0])
	}
	return fmt.Sprintf("%d %s %.12s %.12s", d.step.kind, name, d.redis, d.cairn)
}

func shorten(s string) string {
	if len(s) > 800 {
		return s[:800] + fmt.Sprintf("… (%d bytes)", len(s))
	}
	return s
}

// comparison runs steps on both servers.
type comparison struct {
	redis, cairn *server
	queued       [connections][][]string // commands inside MULTI, by connection
	commands     int                     // executed so far
	small        bool                    // collections spread early
	restarted    bool                    // in this case, or carried over between the nodes of a cluster
}

// prepare empties both servers and opens new connections.
func (c *comparison) prepare() error {
	c.restarted = c.cairn.cluster != nil
	c.queued = [connections][][]string{}
	if c.restarted {
		c.cairn.cluster.hold()
		defer c.cairn.cluster.release()
	}
	for _, s := range []*server{c.redis, c.cairn} {
		if err := s.dialAll(); err != nil {
			return err
		}
		for _, args := range [][]string{{"FLUSHALL"}, {"CONFIG", "RESETSTAT"}, c.packing()} {
			if _, err := s.conns[0].Must(args...); err != nil {
				return err
			}
		}
		// Redis 7.0 does not have these.
		if _, err := s.conns[0].Do(append([]string{"CONFIG", "SET"}, c.setPacking()...)...); err != nil {
			return err
		}
	}
	return nil
}

// packing is what a case begins with.
func (c *comparison) packing() []string {
	if c.small {
		return []string{"CONFIG", "SET", "hash-max-listpack-entries", "3", "hash-max-listpack-value", "8",
			"zset-max-listpack-entries", "3", "zset-max-listpack-value", "2", "set-max-intset-entries", "3", "list-max-listpack-size", "3"}
	}
	return defaultPacking
}

func (c *comparison) setPacking() []string {
	if c.small {
		return []string{"set-max-listpack-entries", "4", "set-max-listpack-value", "8", "packed-max-bytes", "64"}
	}
	return []string{"set-max-listpack-entries", "128", "set-max-listpack-value", "64", "packed-max-bytes", "2048"}
}

// defaultPacking undoes what cases change.
var defaultPacking = []string{"CONFIG", "SET", "hash-max-listpack-entries", "512", "hash-max-listpack-value", "64",
	"zset-max-listpack-entries", "128", "zset-max-listpack-value", "64", "set-max-intset-entries", "512", "list-max-listpack-size", "-2"}

// runCase prepares, runs the steps and compares the state at the end.
func (c *comparison) runCase(steps []step) (*difference, error) {
	if err := c.prepare(); err != nil {
		return nil, err
	}
	if d, err := c.run(steps, 0); d != nil || err != nil {
		return d, err
	}
	return c.compareState(len(steps))
}

// run executes the steps; base is the index that the first one is reported under.
func (c *comparison) run(steps []step, base int) (*difference, error) {
	for i := 0; i < len(steps); {
		n := burstLength(steps[i:])
		d, err := c.runOne(steps[i : i+n])
		if err != nil {
			return nil, fmt.Errorf("%v: %w", steps[i], err)
		}
		if d != nil {
			d.index += base + i
			return d, nil
		}
		i += n
		c.commands += n
	}
	return nil, nil
}

// burstLength is how many of the steps may be sent before a reply is read.
func burstLength(steps []step) int {
	n := 1
	for n < len(steps) && n < maxBurst && steps[n].kind == stepCommand && steps[0].kind == stepCommand && steps[n].conn == steps[0].conn {
		n++
	}
	return n
}

func (c *comparison) runOne(steps []step) (*difference, error) {
	s := steps[0]
	switch s.kind {
	case stepRaw:
		return c.runRaw(s)
	case stepSilent:
		return c.runSilent(s)
	case stepCross:
		return c.runCross(s)
	case stepScan:
		return c.runScan(s)
	case stepBlock:
		return c.runBlock(s)
	case stepRestart:
		return nil, c.restart(s.args[0] == "KILL")
	}
	return c.runBurst(steps)
}

// runBurst sends commands on one connection to both servers and compares the replies.
func (c *comparison) runBurst(steps []step) (*difference, error) {
	conn := steps[0].conn
	redis, err := c.redis.exchange(conn, steps)
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	cairn, err := c.cairn.exchange(conn, steps)
	if err != nil {
		return nil, fmt.Errorf("cairn: %w", err)
	}
	for i, s := range steps {
		if !c.sameAnswer(conn, s.args, redis[i], cairn[i]) {
			return &difference{i, s, redis[i].String(), cairn[i].String()}, nil
		}
	}
	if last := len(steps) - 1; redis[last].Equal(closed) || differences.Is(steps[last].args, "quit") {
		return nil, errors.Join(c.redis.dial(conn), c.cairn.dial(conn))
	}
	return nil, nil
}

// exchange returns one reply for each step, closed for those that got none because the server ended the connection.
func (s *server) exchange(conn int, steps []step) ([]wire.Value, error) {
	c := s.conns[conn]
	// The server may close the connection while the burst is being written: reading tells.
	for _, st := range steps {
		_ = c.Send(st.args...)
	}
	_ = c.Flush()
	replies := make([]wire.Value, len(steps))
	for i := range steps {
		v, err := c.Receive()
		switch {
		case isTimeout(err):
			v = silent
			c.SetTimeout(time.Millisecond) // nor do the next ones come
		case isClosed(err):
			v = closed
		case err != nil:
			return nil, fmt.Errorf("%v: %w", steps[i], err)
		}
		replies[i] = v
	}
	return replies, nil
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

func isClosed(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &op)
}

// sameAnswer compares replies, those inside EXEC's by the commands that were queued.
func (c *comparison) sameAnswer(conn int, args []string, redis, cairn wire.Value) bool {
	queued := c.queued[conn]
	switch {
	case redis.Kind == '+' && redis.Text == "QUEUED":
		c.queued[conn] = append(queued, args)
	case redis.IsError() && !strings.HasPrefix(redis.Text, "EXECABORT"):
		// The queue stays, as after a nested MULTI.
	case differences.Is(args, "exec"), differences.Is(args, "multi"), differences.Is(args, "discard"), differences.Is(args, "reset"), differences.Is(args, "quit"):
		c.queued[conn] = nil
	}
	if differences.Is(args, "exec") && redis.Kind == '*' && cairn.Kind == '*' && len(queued) == len(redis.Elems) && len(redis.Elems) == len(cairn.Elems) {
		for i, q := range queued {
			if !c.agree(q, redis.Elems[i], cairn.Elems[i]) {
				return false
			}
		}
		return redis.Null == cairn.Null
	}
	return c.agree(args, redis, cairn)
}

// agree is agree for the case at hand. Redis encodes its data anew when it starts, and by then it has forgotten CONFIG SET; a listpack has no -0.
func (c *comparison) agree(args []string, redis, cairn wire.Value) bool {
	if c.restarted {
		if differences.Is(args, "object", "encoding") {
			return sameShape(args, redis, cairn)
		}
		redis, cairn = withoutNegativeZero(redis), withoutNegativeZero(cairn)
		if differences.Is(args, "xinfo") {
			redis, cairn = without(carriedAnew, redis), without(carriedAnew, cairn)
		}
	}
	return agree(args, redis, cairn)
}

// carriedAnew is what Redis 7.0 forgets of a stream when it reads it from its log, and what Cairn makes anew of one that is restored.
var carriedAnew = []string{"entries-read", "lag", "radix-tree-keys"}

// without takes the values of some names away, at any depth.
func without(names []string, v wire.Value) wire.Value {
	elems := make([]wire.Value, len(v.Elems))
	for i, e := range v.Elems {
		elems[i] = without(names, e)
		if i > 0 && slices.Contains(names, v.Elems[i-1].Text) {
			elems[i] = wire.Value{}
		}
	}
	v.Elems = elems
	return v
}

func withoutNegativeZero(v wire.Value) wire.Value {
	if v.Text == "-0" {
		v.Text = "0"
	}
	elems := v.Elems
	v.Elems = nil
	for _, e := range elems {
		v.Elems = append(v.Elems, withoutNegativeZero(e))
	}
	return v
}

func agree(args []string, redis, cairn wire.Value) bool {
	return same(args, redis, cairn) || differences.Intended(args, redis, cairn)
}

// runRaw sends bytes on new connections, ends the sending side and compares all that comes back.
func (c *comparison) runRaw(s step) (*difference, error) {
	redis, err := rawExchange(c.redis.node, s.args[0])
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	cairn, err := rawExchange(c.cairn.node, s.args[0])
	if err != nil {
		return nil, fmt.Errorf("cairn: %w", err)
	}
	if redis != cairn {
		return &difference{0, s, strconv.Quote(redis), strconv.Quote(cairn)}, nil
	}
	return nil, nil
}

func rawExchange(n *testnode.Node, request string) (string, error) {
	c, err := n.Dial()
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SendRaw(request); err != nil {
		return "", err
	}
	if err := c.Flush(); err != nil {
		return "", err
	}
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		// An error means that the server was faster; what it said is still there to read.
		_ = half.CloseWrite()
	}
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return "", err
	}
	reply, err := io.ReadAll(c.Conn)
	if isClosed(err) && !isTimeout(err) {
		err = nil
	}
	return string(reply), err
}

// runSilent sends a burst that answers once, and an ECHO that shows that it answered only once.
func (c *comparison) runSilent(s step) (*difference, error) {
	var burst []step
	for _, line := range strings.Split(s.args[0], ";") {
		burst = append(burst, step{args: strings.Split(line, " ")})
	}
	var got [2]string
	for i, side := range []*server{c.redis, c.cairn} {
		conn := side.conns[s.conn]
		for _, b := range burst {
			if err := conn.Send(b.args...); err != nil {
				return nil, err
			}
		}
		replies, err := side.exchange(s.conn, []step{{args: []string{"ECHO", "end"}}})
		for err == nil && replies[0].Text != "end" && !replies[0].Equal(closed) {
			got[i] += replies[0].String() + " "
			replies[0], err = conn.Receive()
		}
		if err != nil {
			return nil, err
		}
	}
	if got[0] != got[1] {
		return &difference{0, s, got[0], got[1]}, nil
	}
	return nil, nil
}

// runCross moves a value from each server to the other one: what DUMP gives there RESTORE must take here.
func (c *comparison) runCross(s step) (*difference, error) {
	dump := step{conn: s.conn, args: []string{"DUMP", s.args[0]}}
	redis, err := c.redis.exchange(s.conn, []step{dump})
	if err != nil {
		return nil, err
	}
	cairn, err := c.cairn.exchange(s.conn, []step{dump})
	if err != nil {
		return nil, err
	}
	if differences.Intended(dump.args, redis[0], cairn[0]) {
		return nil, nil
	}
	if redis[0].Null != cairn[0].Null || redis[0].Kind != cairn[0].Kind {
		return &difference{0, s, redis[0].String(), cairn[0].String()}, nil
	}
	if redis[0].Null || redis[0].Kind != '$' {
		return nil, nil
	}
	a, err := c.redis.exchange(s.conn, restoreSteps(s, cairn[0].Text))
	if err != nil {
		return nil, err
	}
	b, err := c.cairn.exchange(s.conn, restoreSteps(s, redis[0].Text))
	if err != nil {
		return nil, err
	}
	for i := range a {
		if !c.agree(restoreSteps(s, "")[i].args, a[i], b[i]) && !a[i].Sorted().Equal(b[i].Sorted()) {
			return &difference{0, s, a[i].String(), b[i].String()}, nil
		}
	}
	return nil, nil
}

// restoreSteps restore a payload and look at it as a value of each type; what is no string goes again, since each server chooses the
// encoding of what it restores by its own rules.
func restoreSteps(s step, payload string) (steps []step) {
	k := s.args[1]
	add := func(args ...string) { steps = append(steps, step{conn: s.conn, args: args}) }
	add("RESTORE", k, "0", payload, "REPLACE")
	add("TYPE", k)
	add("GET", k)
	if untagged(k) != crossed {
		return steps
	}
	add("LRANGE", k, "0", "-1")
	add("SMEMBERS", k)
	add("ZRANGE", k, "0", "-1", "WITHSCORES")
	add("HGETALL", k)
	add("XRANGE", k, "-", "+")
	add("XLEN", k)
	add("XINFO", "GROUPS", k)
	add("DEL", k)
	return steps
}

// runScan iterates over all keys on both sides and compares them as sets.
func (c *comparison) runScan(s step) (*difference, error) {
	redis, err := c.redis.scan(s)
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	cairn, err := c.cairn.scan(s)
	if err != nil {
		return nil, fmt.Errorf("cairn: %w", err)
	}
	if !slices.Equal(redis, cairn) {
		return &difference{0, s, fmt.Sprintf("%q", redis), fmt.Sprintf("%q", cairn)}, nil
	}
	return nil, nil
}

// scan returns the keys of a whole iteration, sorted and each once.
func (s *server) scan(st step) ([]string, error) {
	var keys []string
	cursor := "0"
	for range 100_000 {
		v, err := s.conns[st.conn].Must(append([]string{"SCAN", cursor}, st.args...)...)
		if err != nil {
			return nil, err
		}
		if len(v.Elems) != 2 {
			return nil, fmt.Errorf("SCAN replied %s", v)
		}
		keys = append(keys, v.Elems[1].Strings()...)
		if cursor = v.Elems[0].Text; cursor == "0" {
			slices.Sort(keys)
			return slices.Compact(keys), nil
		}
	}
	return nil, errors.New("SCAN does not end")
}

// restart ends both servers and starts them again with their data; of a cluster one node is enough. Redis is
// never killed: while its disk syncs it keeps acknowledged writes back for up to two seconds.
func (c *comparison) restart(kill bool) error {
	c.restarted = true
	c.queued = [connections][][]string{}
	if c.cairn.cluster != nil {
		return errors.Join(c.cairn.cluster.restart(kill), c.redis.dialAll(), c.cairn.dialAll())
	}
	for _, s := range []*server{c.redis, c.cairn} {
		if err := s.node.Restart(kill && s == c.cairn); err != nil {
			return err
		}
		if err := s.dialAll(); err != nil {
			return err
		}
	}
	return nil
}

// compareState compares all keys of the databases that a case may use.
func (c *comparison) compareState(index int) (*difference, error) {
	c.queued = [connections][][]string{}
	if err := errors.Join(c.redis.dialAll(), c.cairn.dialAll()); err != nil {
		return nil, err
	}
	if c.cairn.cluster != nil {
		return c.compareCluster(index)
	}
	for db := range 16 {
		steps := []step{command("SELECT", strconv.Itoa(db)), command("DBSIZE"), command("KEYS", "*"), {kind: stepScan, args: []string{"COUNT", "3"}}}
		if d, err := c.run(steps, index); d != nil || err != nil {
			return d, err
		}
		keys, err := c.redis.conns[0].Must("KEYS", "*")
		if err != nil {
			return nil, err
		}
		if d, err := c.run(keySteps(keys.Strings()), index); d != nil || err != nil {
			return d, err
		}
		if d, err := c.checkRandomFields(keys.Strings(), index); d != nil || err != nil {
			return d, err
		}
		if d, err := c.checkRandomKey(keys.Strings(), index); d != nil || err != nil {
			return d, err
		}
	}
	return nil, nil
}

func command(args ...string) step { return step{args: args} }

func keySteps(keys []string) []step {
	var steps []step
	for _, k := range keys {
		steps = append(steps, command("TYPE", k), command("GET", k), command("PEXPIRETIME", k), command("OBJECT", "ENCODING", k),
			command("HGETALL", k), command("HLEN", k), command("LRANGE", k, "0", "-1"), command("ZRANGE", k, "0", "-1", "WITHSCORES"),
			command("SMEMBERS", k), command("SCARD", k), command("XINFO", "STREAM", k, "FULL", "COUNT", "0"), command("XRANGE", k, "-", "+"))
	}
	return steps
}

// checkRandomKey: whatever RANDOMKEY returns is a key, and one is returned when there is any.
func (c *comparison) checkRandomKey(keys []string, index int) (*difference, error) {
	for range 5 {
		v, err := c.cairn.conns[0].Must("RANDOMKEY")
		if err != nil {
			return nil, err
		}
		if v.Null != (len(keys) == 0) || !v.Null && !slices.Contains(keys, v.Text) {
			return &difference{index, command("RANDOMKEY"), fmt.Sprintf("one of %q", keys), v.String()}, nil
		}
	}
	return nil, nil
}

// checkRandomFields: whatever HRANDFIELD returns is a field with its value, and a positive count gives none of them twice.
func (c *comparison) checkRandomFields(keys []string, index int) (*difference, error) {
	for _, k := range keys {
		all, err := c.cairn.conns[0].Do("HGETALL", k)
		if err != nil || all.IsError() {
			if err != nil {
				return nil, err
			}
			continue // of another type
		}
		fields := pairs(all)
		for _, count := range []string{"3", "-3"} {
			v, err := c.cairn.conns[0].Must("HRANDFIELD", k, count, "WITHVALUES")
			if err != nil {
				return nil, err
			}
			got := pairs(v)
			for f, value := range got {
				if !fields[f].Equal(value) {
					return &difference{index, command("HRANDFIELD", k, count), fmt.Sprintf("of %v", all), v.String()}, nil
				}
			}
			if count == "3" && len(got) != min(3, len(fields)) {
				return &difference{index, command("HRANDFIELD", k, count), fmt.Sprintf("of %v", all), v.String()}, nil
			}
		}
	}
	return nil, nil
}
