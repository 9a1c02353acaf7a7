package command

import (
	"crypto/sha256"
	"crypto/subtle"
	"math"

	"github.com/cairndb/cairn/engine/types"
	"github.com/cairndb/cairn/server/resp"
)

// RedisVersion is the version whose behaviour Cairn follows: client libraries choose features by it.
const RedisVersion = "7.2.4"

// sessionFlags are what the commands that concern only their connection have in common.
const sessionFlags = Loading | Stale | Fast | Unlocked

var connectionCommands = []*Command{
	{Name: "auth", Arity: -2, Flags: sessionFlags | NoScript | NoAuth | AllowBusy | Sentinel, Run: auth,
		Categories: []string{"connection"}, Group: "connection", Since: "1.0.0",
		Complexity: "O(N) where N is the number of passwords defined for the user",
		Summary:    "Authenticates the connection.",
		History:    [][2]string{{"6.0.0", "Added ACL style (username and password)."}},
		Args:       []Arg{arg("username", "string").opt().since("6.0.0"), arg("password", "string")}},
	{Name: "hello", Arity: -1, Flags: sessionFlags | NoScript | NoAuth | AllowBusy | Sentinel, Run: hello,
		Categories: []string{"connection"}, Group: "connection", Since: "6.0.0", Complexity: "O(1)",
		Summary: "Agrees on the protocol version, and authenticates and names the connection on the way.",
		History: [][2]string{{"6.2.0", "`protover` made optional; when called without arguments the command reports the current connection's context."}},
		Args: []Arg{block("arguments",
			arg("protover", "integer"),
			block("auth", arg("username", "string"), arg("password", "string")).tok("AUTH").opt(),
			arg("clientname", "string").tok("SETNAME").opt(),
		).opt()}},
	{Name: "ping", Arity: -1, Flags: Fast | Unlocked | Sentinel, Run: ping,
		Categories: []string{"connection"}, Group: "connection", Since: "1.0.0", Complexity: "O(1)",
		Summary: "Answers, so that a client knows the server does.",
		Tips:    []string{"request_policy:all_shards", "response_policy:all_succeeded"},
		Args:    []Arg{arg("message", "string").opt()}},
	{Name: "echo", Arity: 2, Flags: sessionFlags, Run: echo,
		Categories: []string{"connection"}, Group: "connection", Since: "1.0.0", Complexity: "O(1)",
		Summary: "Returns its argument.",
		Args:    []Arg{arg("message", "string")}},
	{Name: "select", Arity: 2, Flags: sessionFlags, Run: selectDB,
		Categories: []string{"connection"}, Group: "connection", Since: "1.0.0", Complexity: "O(1)",
		Summary: "Chooses the connection's database by its number.",
		Args:    []Arg{arg("index", "integer")}},
	{Name: "quit", Arity: -1, Flags: sessionFlags | NoScript | NoAuth | AllowBusy, Run: quit,
		Categories: []string{"connection"}, Group: "connection", Since: "1.0.0", Complexity: "O(1)",
		Summary: "Closes the connection after the replies that are due."},
	{Name: "reset", Arity: 1, Flags: sessionFlags | NoScript | NoAuth | AllowBusy, Run: reset,
		Categories: []string{"connection"}, Group: "connection", Since: "6.2.0", Complexity: "O(1)",
		Summary: "Brings the connection back to the state of a new one."},
	{Name: "readonly", Arity: 1, Flags: sessionFlags, Run: readOnly,
		Categories: []string{"connection"}, Group: "cluster", Since: "3.0.0", Complexity: "O(1)",
		Summary: "Lets the connection read from a replica."},
	{Name: "readwrite", Arity: 1, Flags: sessionFlags, Run: readWrite,
		Categories: []string{"connection"}, Group: "cluster", Since: "3.0.0", Complexity: "O(1)",
		Summary: "Ends READONLY."},
	{Name: "asking", Arity: 1, Flags: Fast | Unlocked, Run: asking,
		Categories: []string{"connection"}, Group: "cluster", Since: "3.0.0", Complexity: "O(1)",
		Summary: "Lets the next command use a slot that is being imported (after an ASK redirect)."},
}

func ping(c *Ctx) {
	switch len(c.Args) {
	case 1:
		c.Out.Simple("PONG")
	case 2:
		c.Out.Bulk(c.Args[1])
	default:
		c.Out.Error("ERR wrong number of arguments for 'ping' command")
	}
}

func echo(c *Ctx) { c.Out.Bulk(c.Args[1]) }

func selectDB(c *Ctx) {
	n, ok := c.int(1)
	if !ok {
		return
	}
	switch {
	case n < math.MinInt32 || n > math.MaxInt32:
		c.Out.Error("ERR value is out of range, value must between -2147483648 and 2147483647")
	case c.Node.Cluster != nil && n != 0:
		c.Out.Error("ERR SELECT is not allowed in cluster mode")
	case n < 0 || n >= int64(c.Node.Store.Databases()):
		c.Out.Error("ERR DB index is out of range")
	default:
		c.DB = int(n)
		c.publish()
		c.Out.OK()
	}
}

func quit(c *Ctx) {
	c.close()
	c.Out.OK()
}

func reset(c *Ctx) {
	c.reset(c.Node)
	c.Out.Simple("RESET")
}

func readOnly(c *Ctx)  { c.setReadOnly(true) }
func readWrite(c *Ctx) { c.setReadOnly(false) }

func (c *Ctx) setReadOnly(on bool) {
	if c.Node.Cluster == nil {
		c.Out.Error(resp.ErrClusterOff)
		return
	}
	c.ReadOnlyMode = on
	c.publish()
	c.Out.OK()
}

func asking(c *Ctx) {
	if c.Node.Cluster == nil {
		c.Out.Error(resp.ErrClusterOff)
		return
	}
	c.Asking = true
	c.Out.OK()
}

const errWrongPass = "WRONGPASS invalid username-password pair or user is disabled."

func auth(c *Ctx) {
	user, password := DefaultUser, c.Args[1]
	switch len(c.Args) {
	case 2:
		if c.Node.Config.RequirePass() == "" {
			c.Out.Error("ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?")
			return
		}
	case 3:
		user, password = string(c.Args[1]), c.Args[2]
	default:
		c.syntaxError()
		return
	}
	if !c.authenticate(user, password) {
		c.Out.Error(errWrongPass)
		return
	}
	c.Out.OK()
}

// authenticate logs the session in. Without requirepass any password of the default user is right.
func (c *Ctx) authenticate(user string, password []byte) bool {
	want := c.Node.Config.RequirePass()
	if user != DefaultUser || want != "" && !samePassword(want, password) {
		c.Node.Stats.AuthFailures.Add(1)
		return false
	}
	c.User, c.Authed = user, true
	c.publish()
	return true
}

// samePassword takes the same time whatever the difference, also in length: it compares digests.
func samePassword(want string, got []byte) bool {
	a, b := sha256.Sum256([]byte(want)), sha256.Sum256(got)
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// helloOptions are what follows the protocol version.
type helloOptions struct {
	user, name     string
	password       []byte
	login, setName bool
}

func hello(c *Ctx) {
	proto := int64(0)
	if len(c.Args) > 1 {
		v, ok := types.ParseInt(c.Args[1])
		if !ok {
			c.Out.Error("ERR Protocol version is not an integer or out of range")
			return
		}
		if v != 2 && v != 3 {
			c.Out.Error("NOPROTO unsupported protocol version")
			return
		}
		proto = v
	}
	o, ok := c.helloOptions()
	if !ok {
		return
	}
	if o.login && !c.authenticate(o.user, o.password) {
		c.Out.Error(errWrongPass)
		return
	}
	if !c.Node.Authenticated(c.Session) {
		c.Out.Error("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time")
		return
	}
	if o.setName {
		c.setName(o.name)
	}
	if proto != 0 {
		c.Out.Proto3 = proto == 3
		c.publish()
	}
	c.writeHello()
}

func (c *Ctx) helloOptions() (o helloOptions, ok bool) {
	for i := 2; i < len(c.Args); i++ {
		more := len(c.Args) - 1 - i
		switch {
		case c.is(i, "auth") && more >= 2:
			o.login, o.user, o.password = true, string(c.Args[i+1]), c.Args[i+2]
			i += 2
		case c.is(i, "setname") && more >= 1:
			if !printable(c.Args[i+1]) {
				c.Out.Error(errClientName)
				return o, false
			}
			o.setName, o.name = true, string(c.Args[i+1])
			i++
		default:
			c.Out.Error("ERR Syntax error in HELLO option '" + string(resp.CString(c.Args[i])) + "'")
			return o, false
		}
	}
	return o, true
}

func (c *Ctx) writeHello() {
	w := &c.Out
	w.Map(7)
	pair := func(name, value string) {
		w.BulkString(name)
		w.BulkString(value)
	}
	pair("server", "redis")
	pair("version", RedisVersion)
	w.BulkString("proto")
	w.Int(int64(c.proto()))
	w.BulkString("id")
	w.Int(int64(c.ID))
	pair("mode", c.Node.mode())
	role := c.Node.roleName()
	if role == "slave" {
		role = "replica"
	}
	pair("role", role)
	w.BulkString("modules")
	w.Array(0)
}

// proto is the connection's protocol version.
func (s *Session) proto() int {
	if s.Out.Proto3 {
		return 3
	}
	return 2
}

// mode is what HELLO and INFO call the kind of node.
func (n *Node) mode() string {
	if n.Cluster != nil {
		return "cluster"
	}
	return "standalone"
}

// quote makes text from a client fit for an error reply.
func quote(b []byte) string {
	const most = 128
	b = resp.CString(b)
	return string(b[:min(len(b), most)])
}
