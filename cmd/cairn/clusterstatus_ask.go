package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cairndb/cairn/tools/wire"
)

// nodeAnswer is what one node says of itself and of the cluster, or why it says nothing.
type nodeAnswer struct {
	addr  string
	err   error
	nodes []nodeLine
	// fields are those of CLUSTER INFO and INFO replication.
	fields map[string]string
	keys   int64 // -1 when not known
	// moves are its present exports of slots.
	moves []map[string]string
}

// nodeLine is a line of CLUSTER NODES.
type nodeLine struct {
	id, addr string
	flags    []string
	primary  string // the ID, empty for a primary
	slots    []slotRange
	open     []openSlot // only in the node's own line
}

// statusAsker asks the nodes of a cluster how they are.
type statusAsker struct {
	password string
	timeout  time.Duration // for one node, from the connection to its last reply
}

// maxAsked bounds how many nodes are asked: Redis's limit of a cluster.
const maxAsked = 1000

// cluster asks the first of the seeds that answers, then all nodes that it knows at once, and so on while nodes are
// found that only others know. An error says that no seed answered.
func (a *statusAsker) cluster(ctx context.Context, seeds []string) ([]nodeAnswer, error) {
	var answers []nodeAnswer
	var failures []error
	for _, seed := range seeds {
		answer := a.node(ctx, seed)
		if answer.err == nil {
			answers = append(answers, answer)
			break
		}
		failures = append(failures, fmt.Errorf("%s: %w", seed, answer.err))
	}
	if len(answers) == 0 {
		return nil, errors.Join(failures...)
	}
	asked := map[string]bool{answers[0].self().id: true}
	for news := answers; len(news) > 0; {
		news = a.all(ctx, unasked(news, asked))
		answers = append(answers, news...)
	}
	return answers, nil
}

// unasked finds the addresses of nodes, by their ID, that nobody asked yet, and notes them in asked.
func unasked(answers []nodeAnswer, asked map[string]bool) (addrs []string) {
	for _, answer := range answers {
		for _, n := range answer.nodes {
			if !asked[n.id] && n.addr != "" && len(asked) < maxAsked {
				asked[n.id] = true
				addrs = append(addrs, n.addr)
			}
		}
	}
	return addrs
}

func (a *statusAsker) all(ctx context.Context, addrs []string) []nodeAnswer {
	answers := make([]nodeAnswer, len(addrs))
	var wg sync.WaitGroup
	for i, addr := range addrs {
		wg.Go(func() { answers[i] = a.node(ctx, addr) })
	}
	wg.Wait()
	return answers
}

func (a *statusAsker) node(ctx context.Context, addr string) nodeAnswer {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	answer := nodeAnswer{addr: addr, fields: map[string]string{}, keys: -1}
	answer.err = a.ask(ctx, &answer)
	if ctx.Err() != nil && answer.err != nil {
		answer.err = fmt.Errorf("no answer within %v", a.timeout)
	}
	return answer
}

func (a *statusAsker) ask(ctx context.Context, answer *nodeAnswer) error {
	conn, err := wire.DialContext(ctx, answer.addr)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err // without the address, which is shown beside it
		}
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if a.password != "" {
		v, err := conn.Do("AUTH", a.password)
		if err == nil {
			err = v.Err()
		}
		if err != nil {
			return err
		}
	}
	for _, command := range [][]string{{"CLUSTER", "NODES"}, {"CLUSTER", "INFO"}, {"INFO", "replication"}, {"DBSIZE"}, {"CLUSTER", "GETSLOTMIGRATIONS"}} {
		if err := conn.Send(command...); err != nil {
			return err
		}
	}
	if err := conn.Flush(); err != nil {
		return err
	}
	return answer.read(conn)
}

// read takes the replies. Only CLUSTER NODES and CLUSTER INFO are always answered: a node that gets a full sync may
// refuse the others.
func (answer *nodeAnswer) read(conn *wire.Conn) error {
	var replies [5]wire.Value
	for i := range replies {
		v, err := conn.Receive()
		if err != nil {
			return err
		}
		replies[i] = v
	}
	for _, v := range replies[:2] {
		if err := v.Err(); err != nil {
			return err
		}
	}
	answer.nodes = parseNodes(replies[0].Text, answer.addr)
	if answer.self().id == "" {
		return errors.New("CLUSTER NODES does not name the node itself")
	}
	answer.add(replies[1].Text)
	if !replies[2].IsError() {
		answer.add(replies[2].Text)
	}
	if !replies[3].IsError() {
		answer.keys = replies[3].Int()
	}
	for _, m := range migrationsOf(replies[4]) {
		if s := m["state"]; m["operation"] == "EXPORT" && s != "success" && s != "failed" && s != "cancelled" {
			answer.moves = append(answer.moves, m)
		}
	}
	return nil
}

func (answer *nodeAnswer) add(info string) {
	for line := range strings.Lines(info) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			answer.fields[name] = value
		}
	}
}

// number is a field's value, -1 when there is none.
func (answer *nodeAnswer) number(field string) int64 { return number(answer.fields[field]) }

// number reads a count or an offset, -1 for anything else.
func number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// self is the node's own line, empty when it does not answer.
func (answer *nodeAnswer) self() nodeLine {
	for _, n := range answer.nodes {
		if n.is("myself") {
			return n
		}
	}
	return nodeLine{}
}

func (n nodeLine) is(flag string) bool {
	for _, f := range n.flags {
		if f == flag {
			return true
		}
	}
	return false
}

// parseNodes reads CLUSTER NODES as the node at addr answers it. Lines that are too short are left out.
func parseNodes(text, addr string) (nodes []nodeLine) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 8 {
			continue
		}
		n := nodeLine{id: fields[0], flags: strings.Split(fields[2], ",")}
		n.addr = nodeAddress(fields[1], addr, n.is("myself"))
		if fields[3] != "-" {
			n.primary = fields[3]
		}
		for _, part := range fields[8:] {
			n.take(part)
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// nodeAddress reads ip:port@busport[,hostname]. A node that does not know its own address is where it was asked.
func nodeAddress(field, asked string, myself bool) string {
	if myself {
		return asked
	}
	field, _, _ = strings.Cut(field, "@")
	i := strings.LastIndexByte(field, ':')
	if i <= 0 || field[i+1:] == "0" {
		return ""
	}
	return net.JoinHostPort(strings.Trim(field[:i], "[]"), field[i+1:])
}

// take reads what stands behind the fixed fields: 7, 7-9, [7->-id] or [7-<-id].
func (n *nodeLine) take(part string) {
	if inner, ok := strings.CutPrefix(part, "["); ok {
		inner = strings.TrimSuffix(inner, "]")
		for _, kind := range []struct{ arrow, state string }{{"->-", migrating}, {"-<-", importing}} {
			if slot, id, ok := strings.Cut(inner, kind.arrow); ok {
				if s, ok := slotNumber(slot); ok {
					n.open = append(n.open, openSlot{Slot: s, State: kind.state, NodeID: id})
				}
			}
		}
		return
	}
	first, last, ranged := strings.Cut(part, "-")
	if !ranged {
		last = first
	}
	a, ok1 := slotNumber(first)
	b, ok2 := slotNumber(last)
	if ok1 && ok2 && a <= b {
		n.slots = append(n.slots, slotRange{a, b})
	}
}
