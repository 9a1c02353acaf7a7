package command

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"math"
	"net"
	"strconv"
	"time"

	"github.com/cairndb/cairn/engine/keys"
	"github.com/cairndb/cairn/engine/types"
)

var debugCommands = []*Command{{
	Name: "debug", Arity: -2, Flags: Admin | NoScript | Loading | Stale | Slow, Run: debugCommand, GetKeys: debugKeys,
	Group: "server", Since: "1.0.0", Complexity: "Depends on subcommand.",
	Summary: "Helps to test the server; off unless enable-debug-command says otherwise.",
}}

// debugSubcommands are by lower-case name; arity counts DEBUG and the name, negative means at least.
var debugSubcommands = map[string]struct {
	arity int
	run   func(*Ctx)
}{
	"help":              {2, debugHelp},
	"sleep":             {3, debugSleep},
	"set-active-expire": {3, debugSetActiveExpire},
	"digest-value":      {-2, debugDigestValue},
	"error":             {3, debugError},
	"protocol":          {3, debugProtocol},
}

func debugCommand(c *Ctx) {
	if !c.debugAllowed() {
		c.Out.Error("ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", " +
			"you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.")
		return
	}
	for name, sub := range debugSubcommands {
		if n := len(c.Args); c.is(1, name) && (n == sub.arity || sub.arity < 0 && n >= -sub.arity) {
			sub.run(c)
			return
		}
	}
	c.subcommandSyntax("DEBUG")
}

// debugAllowed says whether enable-debug-command lets this connection use DEBUG.
func (c *Ctx) debugAllowed() bool {
	switch c.Node.Config.EnableDebugCommand() {
	case "yes":
		return true
	case "local":
		return c.local()
	}
	return false
}

// local says whether the client is on this machine.
func (s *Session) local() bool {
	host, _, err := net.SplitHostPort(s.Addr)
	return s.Unix || err == nil && net.ParseIP(host).IsLoopback()
}

// debugKeys are the keys of DIGEST-VALUE, so that dispatch locks their slots.
func debugKeys(args [][]byte) ([]int, error) {
	if len(args) < 3 || !equalFold(args[1], "digest-value") {
		return nil, nil
	}
	idx := make([]int, 0, len(args)-2)
	for i := 2; i < len(args); i++ {
		idx = append(idx, i)
	}
	return idx, nil
}

func debugHelp(c *Ctx) {
	c.help("DEBUG",
		"DIGEST-VALUE <key> [<key> ...]", "    Output a hex signature of the values of all the specified keys.",
		"ERROR <string>", "    Return a Redis protocol error with <string> as message. Useful for clients", "    unit tests to simulate Redis errors.",
		"PROTOCOL <type>", "    Reply with a test value of the specified type. <type> can be: string,",
		"    integer, double, bignum, null, array, set, map, attrib, push, verbatim,", "    true, false.",
		"SET-ACTIVE-EXPIRE <0|1>", "    Setting it to 0 disables expiring keys in background when they are not",
		"    accessed (otherwise the Redis behavior). Setting it to 1 reenables back the", "    default.",
		"SLEEP <seconds>", "    Stop the connection for <seconds>. Decimals allowed.")
}

// maxSleep bounds DEBUG SLEEP.
const maxSleep = time.Hour

func debugSleep(c *Ctx) {
	// As in Redis, what is no number is 0, and so is what no int64 holds in microseconds.
	seconds, _ := strconv.ParseFloat(string(c.Args[2]), 64)
	if seconds > 0 && seconds < math.MaxInt64/1e6 {
		timer := time.NewTimer(time.Duration(min(seconds, maxSleep.Seconds()) * float64(time.Second)))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.Node.Context().Done():
			c.Out.Error("ERR the server stops")
			return
		}
	}
	c.Out.OK()
}

func debugSetActiveExpire(c *Ctx) {
	n, _ := strconv.Atoi(string(c.Args[2]))
	c.Node.Store.SetActiveExpire(n != 0)
	c.Out.OK()
}

func debugError(c *Ctx) { c.Out.Error(string(c.Args[2])) }

func debugDigestValue(c *Ctx) {
	var sums []digest
	for i := 2; i < len(c.Args); i++ {
		d, err := c.digestValue(i)
		if err != nil {
			c.Fail(err)
			return
		}
		sums = append(sums, d)
	}
	c.Out.Array(len(sums))
	for _, d := range sums {
		c.Out.Simple(hex.EncodeToString(d[:]))
	}
}

// digest is the running signature of Redis's DEBUG DIGEST-VALUE, so that the two servers' can be compared.
type digest [sha1.Size]byte

// xor folds in data whose order does not matter.
func (d *digest) xor(data []byte) {
	sum := sha1.Sum(data)
	for i := range d {
		d[i] ^= sum[i]
	}
}

// mix folds in data whose order matters.
func (d *digest) mix(data []byte) {
	d.xor(data)
	*d = sha1.Sum(d[:])
}

// digestValue is the signature of the value of args[i], zero when there is none.
func (c *Ctx) digestValue(i int) (d digest, err error) {
	rec, found, err := c.Txn.Get(c.Key(i))
	if err != nil || !found {
		return d, err
	}
	switch rec.Type {
	case keys.TypeString:
		err = c.digestString(&d, i)
	case keys.TypeList:
		err = c.digestList(&d, i)
	case keys.TypeSet:
		err = c.digestSet(&d, i)
	case keys.TypeHash:
		err = c.digestHash(&d, i)
	case keys.TypeZSet:
		err = c.digestZSet(&d, i)
	case keys.TypeStream:
		err = c.digestStream(&d, i)
	}
	if rec.ExpireAt != 0 {
		d.xor([]byte("!!expire!!"))
	}
	return d, err
}

// mixType folds in Redis's number of a type.
func (d *digest) mixType(n byte) { d.mix([]byte{0, 0, 0, n}) }

func (c *Ctx) digestString(d *digest, i int) error {
	s, err := types.OpenString(c.Txn, c.Key(i))
	if err != nil {
		return err
	}
	value, err := s.Bytes()
	d.mixType(0)
	d.mix(value)
	return err
}

func (c *Ctx) digestList(d *digest, i int) error {
	l, err := types.OpenList(c.Txn, c.Key(i))
	if err != nil {
		return err
	}
	d.mixType(1)
	return l.Each(0, l.Len(), false, func(e []byte) bool {
		d.mix(e)
		return true
	})
}

func (c *Ctx) digestSet(d *digest, i int) error {
	s, err := types.OpenSet(c.Txn, c.Key(i))
	if err != nil {
		return err
	}
	d.mixType(2)
	return s.Each(func(member []byte) bool {
		d.xor(member)
		return true
	})
}

func (c *Ctx) digestHash(d *digest, i int) error {
	h, err := types.OpenHash(c.Txn, c.Key(i))
	if err != nil {
		return err
	}
	d.mixType(4)
	return h.Each(func(field, value []byte) bool {
		var e digest
		e.mix(field)
		e.mix(value)
		d.xor(e[:])
		return true
	})
}

func debugProtocol(c *Ctx) {
	w := &c.Out
	switch {
	case c.is(2, "string"):
		w.BulkString("Hello World")
	case c.is(2, "integer"):
		w.Int(12345)
	case c.is(2, "double"):
		w.Double(3.141)
	case c.is(2, "null"):
		w.Null()
	case c.is(2, "array"):
		w.Array(3)
		for i := range int64(3) {
			w.Int(i)
		}
	case c.is(2, "set"):
		w.Set(3)
		for i := range int64(3) {
			w.Int(i)
		}
	case c.is(2, "map"):
		w.Map(3)
		for i := range int64(3) {
			w.Int(i)
			w.Bool(i == 1)
		}
	case c.is(2, "attrib"):
		if w.Proto3 {
			w.Attribute(1)
			w.BulkString("key-popularity")
			w.Array(2)
			w.BulkString("key:123")
			w.Int(90)
		}
		w.BulkString("Some real reply following the attribute")
	case c.is(2, "push"):
		w.Push(2)
		w.BulkString("server-cpu-usage")
		w.Int(42)
	case c.is(2, "verbatim"):
		w.Verbatim("txt", "This is a verbatim\nstring")
	case c.is(2, "true"):
		w.Bool(true)
	case c.is(2, "false"):
		w.Bool(false)
	case c.is(2, "bignum"):
		w.BigNumber("1234567999999999999999999999999999999")
	default:
		c.Out.Error("ERR Wrong protocol type name. Please use one of the following: string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false")
	}
}

func (c *Ctx) digestZSet(d *digest, i int) error {
	z, err := types.OpenZSet(c.Txn, c.Key(i))
	if err != nil {
		return err
	}
	d.mixType(3)
	return z.Walk(types.Span{}, false, 0, -1, func(s types.Scored) bool {
		var e digest
		e.mix(s.Member)
		e.mix(fmt.Appendf(nil, "%.17g", s.Score))
		d.xor(e[:])
		return true
	})
}

func (c *Ctx) digestStream(d *digest, i int) error {
	s, err := types.OpenStream(c.Txn, c.Key(i))
	if err != nil {
		return err
	}
	d.mixType(6)
	return s.Range(types.StreamID{}, types.MaxStreamID, false, func(id types.StreamID, f types.Fields) bool {
		d.mix(fmt.Appendf(nil, "%d.%d", id.Ms, id.Seq))
		f.Each(func(p []byte) { d.mix(p) })
		return true
	})
}
