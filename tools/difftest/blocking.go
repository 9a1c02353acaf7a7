package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cairndb/cairn/tools/wire"
)

// blockScene are commands of one type that wait for keys, and commands that make these keys ready. All work on keys of their own (pool "awaited"), so that
// no key gets another type meanwhile: then Redis 7.0 differs from 7.2, which runs the whole command again.
type blockScene struct {
	begin       string // is run for each key first
	wait, write *weighted
}

var blockScenes = map[string]blockScene{
	"lists": {
		wait: parseFamily([]string{
			"4 BLPOP <awaited>+ 0",
			"3 BRPOP <awaited>+ 0",
			"3 BLMOVE <awaited> <awaited> (LEFT|RIGHT) (LEFT|RIGHT) 0",
			"1 BRPOPLPUSH <awaited> <awaited> 0",
			"1 BLMPOP 0 1 <awaited> (LEFT|RIGHT) COUNT 2",
			"1 BLMPOP 0 2 <awaited> <awaited> (LEFT|RIGHT)",
		}),
		write: parseFamily([]string{
			"5 RPUSH <awaited> <value>+",
			"3 LPUSH <awaited> <value>+",
			"1 RPOPLPUSH <awaited> <awaited>",
			"1 DEL <awaited>",
			"1 LPOP <awaited>",
			"1 RPUSHX <awaited> <value>",
			"1 RENAMENX <awaited> <awaited>",
			"1 RENAME <awaited> <awaited>",
			"1 COPY <awaited> <awaited> [REPLACE]",
			"1 LMOVE <awaited> <awaited> (LEFT|RIGHT) (LEFT|RIGHT)",
			"1 SORT <awaited> ALPHA STORE <awaited>",
			"1 BLPOP <awaited>+ 0.001",
		}),
	},
	"zsets": {
		wait: parseFamily([]string{
			"4 BZPOPMIN <awaited>+ 0",
			"4 BZPOPMAX <awaited>+ 0",
			"1 BZMPOP 0 1 <awaited> (MIN|MAX) COUNT 2",
			"1 BZMPOP 0 2 <awaited> <awaited> (MIN|MAX)",
		}),
		write: parseFamily([]string{
			"6 ZADD <awaited> 1 <word> 2 <word>",
			"3 ZADD <awaited> 3 <word>",
			"1 ZINCRBY <awaited> 2 <word>",
			"1 DEL <awaited>",
			"1 ZPOPMIN <awaited>",
			"1 RENAMENX <awaited> <awaited>",
			"1 RENAME <awaited> <awaited>",
			"1 COPY <awaited> <awaited> [REPLACE]",
			"1 ZUNIONSTORE <awaited> 2 <awaited> <awaited>",
			"1 ZRANGESTORE <awaited> <awaited> 0 1",
			"1 BZPOPMIN <awaited>+ 0.001",
		}),
	},
	// Nothing is deleted: what those are told who read for a group differs between the releases.
	"streams": {
		begin: "XGROUP CREATE <awaited> g $ MKSTREAM",
		wait: parseFamily([]string{
			"3 XREAD BLOCK 0 STREAMS <awaited> ($|0-0|3-0)",
			"2 XREAD COUNT 1 BLOCK 0 STREAMS w0 w1 $ 4-0",
			"3 XREADGROUP GROUP g (one|two) COUNT 1 BLOCK 0 STREAMS <awaited> >",
			"1 XREADGROUP GROUP g one NOACK BLOCK 0 STREAMS w1 w0 > >",
		}),
		write: parseFamily([]string{
			"6 XADD <awaited> (1-1|2-1|3-1|4-1|5-1|6-1) f <word>",
			"2 XADD <awaited> MAXLEN 1 (4-2|5-2|6-2) f <word>",
			"1 XREADGROUP GROUP g three COUNT 1 STREAMS <awaited> >",
			"1 XREADGROUP GROUP g three BLOCK 1 STREAMS <awaited> >",
			"1 XTRIM <awaited> MAXLEN 1",
			"1 XACK <awaited> g 1-1",
		}),
	},
}

// blocked draws a scene: some commands that wait, one behind the other, and some that write.
func (g *generator) blocked() []step {
	if len(g.scenes) == 0 {
		return nil
	}
	scene := blockScenes[g.pick(g.scenes)]
	s := step{kind: stepBlock, args: []string{"block"}}
	for range 1 + g.rng.IntN(3) {
		s.wait = append(s.wait, scene.wait.pick(g.rng).expand(g, nil))
	}
	for range 1 + g.rng.IntN(4) {
		s.write = append(s.write, scene.write.pick(g.rng).expand(g, nil))
	}
	if g.rng.IntN(3) == 0 && !slices.ContainsFunc(s.wait, severalAwaited) { // 7.0 looks at the keys in the order in which they were written, 7.2 as they were named
		s.write = slices.Concat([][]string{{"MULTI"}}, s.write, [][]string{{"EXEC"}})
	}
	for _, key := range pools["awaited"] {
		if scene.begin != "" {
			s.begin = append(s.begin, strings.Fields(strings.ReplaceAll(scene.begin, "<awaited>", key)))
		}
	}
	return []step{s}
}

// severalAwaited says whether a command may be served by one of several keys.
func severalAwaited(args []string) bool {
	keys := make(map[string]bool)
	for _, a := range args[1:] {
		if slices.Contains(pools["awaited"], a) {
			keys[a] = true
		}
	}
	return len(keys) > 1 && !strings.EqualFold(args[0], "BLMOVE") && !strings.EqualFold(args[0], "BRPOPLPUSH")
}

// runBlock plays a scene on both sides, and compares what each command was answered in the end.
func (c *comparison) runBlock(s step) (*difference, error) {
	redis, err := c.redis.playBlock(s)
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	cairn, err := c.cairn.playBlock(s)
	if err != nil {
		return nil, fmt.Errorf("cairn: %w", err)
	}
	if slices.Equal(redis, cairn) {
		return nil, nil
	}
	return &difference{0, s, strings.Join(redis, " "), strings.Join(cairn, " ")}, nil
}

// playBlock returns the replies of those that wait, who are told that their time is over when all has been written, and then those of the writers.
func (s *server) playBlock(st step) (replies []string, err error) {
	writer, err := s.node.Dial()
	if err != nil {
		return nil, err
	}
	defer writer.Close()
	if _, err := writer.Must(append([]string{"DEL"}, pools["awaited"]...)...); err != nil {
		return nil, err
	}
	for _, args := range st.begin {
		if _, err := writer.Must(args...); err != nil {
			return nil, err
		}
	}
	before, err := blockedClients(writer)
	if err != nil {
		return nil, err
	}
	var waiting []*sleeper
	defer func() {
		for _, w := range waiting {
			w.conn.Close()
		}
	}()
	for _, args := range st.wait {
		w, err := s.sleep(args)
		if err != nil {
			return nil, err
		}
		waiting = append(waiting, w)
		if err := w.settle(writer, before+asleep(waiting)); err != nil {
			return nil, err
		}
	}
	var written []string
	for _, args := range st.write {
		v, err := writer.Do(args...)
		if err != nil {
			return nil, err
		}
		written = append(written, v.String())
	}
	for _, w := range waiting {
		if w.reply == nil {
			if _, err := writer.Must("CLIENT", "UNBLOCK", w.id); err != nil {
				return nil, err
			}
			if err := w.receive(); err != nil {
				return nil, err
			}
		}
		replies = append(replies, w.reply.String())
	}
	return append(replies, written...), nil
}

// sleeper is a connection whose command may wait.
type sleeper struct {
	conn  *wire.Conn
	id    string
	reply *wire.Value // nil while it waits
	came  chan error
	value wire.Value
}

func (s *server) sleep(args []string) (*sleeper, error) {
	conn, err := s.node.Dial()
	if err != nil {
		return nil, err
	}
	id, err := conn.Must("CLIENT", "ID")
	if err != nil {
		return nil, err
	}
	w := &sleeper{conn: conn, id: id.Text, came: make(chan error, 1)}
	if err := conn.Send(args...); err != nil {
		return nil, err
	}
	if err := conn.Flush(); err != nil {
		return nil, err
	}
	go func() {
		v, err := conn.Receive()
		w.value = v
		w.came <- err
	}()
	return w, nil
}

// receive waits for the reply.
func (w *sleeper) receive() error {
	err := <-w.came
	w.reply = &w.value
	return err
}

// settle returns when the command has been answered, or so many connections wait.
func (w *sleeper) settle(admin *wire.Conn, count int) error {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		select {
		case err := <-w.came:
			w.reply = &w.value
			return err
		default:
		}
		if n, err := blockedClients(admin); err != nil || n == count {
			return err
		}
	}
	return fmt.Errorf("%s neither answered nor waits", w.id)
}

// asleep counts those that wait.
func asleep(all []*sleeper) (n int) {
	for _, w := range all {
		if w.reply == nil {
			n++
		}
	}
	return n
}

func blockedClients(c *wire.Conn) (n int, err error) {
	v, err := c.Must("INFO", "clients")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(v.Text, "blocked_clients:")
	_, err = fmt.Sscanf(rest, "%d", &n)
	return n, err
}
