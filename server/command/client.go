package command

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/cairndb/cairn/engine/types"
	"github.com/cairndb/cairn/server/resp"
)

const (
	clientFlags      = NoScript | Loading | Stale | Unlocked
	clientAdminFlags = clientFlags | Admin

	errClientName = "ERR Client names cannot contain spaces, newlines or special characters."
)

var clientTypes = []Arg{
	tok("normal", "NORMAL"), tok("master", "MASTER"), tok("replica", "REPLICA"), tok("pubsub", "PUBSUB"),
}

func onOff(name string) Arg { return oneOf(name, tok("on", "ON"), tok("off", "OFF")) }

// clientCommands is CLIENT. TRACKING and its relatives have no row: their commands are refused as unknown.
var clientCommands = []*Command{{
	Name: "client", Arity: -2, Flags: Unlocked | Sentinel, Group: "connection", Since: "2.4.0", Complexity: "Depends on subcommand.",
	Summary: "Holds the commands about client connections.",
	Sub: []*Command{
		client("getname", 2, "2.6.9", clientFlags, clientGetName, "Returns the connection's name."),
		client("id", 2, "5.0.0", clientFlags, clientID, "Returns the connection's ID."),
		client("info", 2, "6.2.0", clientFlags, clientInfo, "Describes the connection.").tips("nondeterministic_output"),
		client("kill", -3, "2.4.0", clientAdminFlags, clientKill, "Closes connections.",
			oneOf("filter",
				arg("old-format", "string").show("ip:port"),
				oneOf("new-format",
					arg("client-id", "integer").tok("ID").opt().since("2.8.12"),
					oneOf("client-type", tok("normal", "NORMAL"), tok("master", "MASTER"), tok("slave", "SLAVE"), tok("replica", "REPLICA"), tok("pubsub", "PUBSUB")).
						tok("TYPE").opt().since("2.8.12"),
					arg("username", "string").tok("USER").opt(),
					arg("addr", "string").tok("ADDR").opt().show("ip:port"),
					arg("laddr", "string").tok("LADDR").opt().since("6.2.0").show("ip:port"),
					oneOf("skipme", tok("yes", "YES"), tok("no", "NO")).tok("SKIPME").opt(),
				).many(),
			)).complexity("O(N) where N is the number of client connections"),
		client("list", -2, "2.4.0", clientAdminFlags, clientList, "Describes the connections.",
			oneOf("client-type", clientTypes...).tok("TYPE").opt().since("5.0.0"),
			arg("client-id", "integer").tok("ID").opt().many().since("6.2.0"),
		).complexity("O(N) where N is the number of client connections").tips("nondeterministic_output"),
		client("no-evict", 3, "7.0.0", clientAdminFlags, clientNoEvict, "Spares the connection when clients are evicted.", onOff("enabled")),
		client("no-touch", 3, "7.2.0", clientFlags, clientNoTouch, "Keeps the connection's commands from changing when keys were last used.", onOff("enabled")),
		client("pause", -3, "2.9.50", clientAdminFlags, clientPause, "Suspends the commands, or the writes, of all clients.",
			arg("timeout", "integer"), oneOf("mode", tok("write", "WRITE"), tok("all", "ALL")).opt().since("6.2.0")),
		client("reply", 3, "3.2.0", clientFlags, clientReply, "Says whether the connection gets replies.",
			oneOf("action", tok("on", "ON"), tok("off", "OFF"), tok("skip", "SKIP"))),
		client("setinfo", 4, "7.2.0", clientFlags, clientSetInfo, "Tells the server about the client library.",
			oneOf("attr", arg("libname", "string").tok("LIB-NAME"), arg("libver", "string").tok("LIB-VER"))),
		client("setname", 3, "2.6.9", clientFlags, clientSetName, "Names the connection.", arg("connection-name", "string")),
		client("unblock", -3, "5.0.0", clientAdminFlags, clientUnblock, "Ends the wait of a connection.",
			arg("client-id", "integer"), oneOf("unblock-type", tok("timeout", "TIMEOUT"), tok("error", "ERROR")).opt()).
			complexity("O(log N) where N is the number of client connections"),
		client("unpause", 2, "6.2.0", clientAdminFlags, clientUnpause, "Ends CLIENT PAUSE.").
			complexity("O(N) Where N is the number of paused clients"),
		client("help", 2, "5.0.0", Loading|Stale|Unlocked, clientHelp, "Describes the subcommands."),
	},
}}

func client(name string, arity int, since string, flags Flags, run func(*Ctx), summary string, args ...Arg) *Command {
	return &Command{Name: "client|" + name, Arity: arity, Flags: flags | Sentinel, Run: run, Categories: []string{"connection"},
		Group: "connection", Since: since, Complexity: "O(1)", Summary: summary, Args: args}
}

func (c *Command) complexity(text string) *Command {
	c.Complexity = text
	return c
}

func (c *Command) tips(tips ...string) *Command {
	c.Tips = tips
	return c
}

func clientHelp(c *Ctx) {
	c.help("CLIENT",
		"GETNAME", "    Return the name of the current connection.",
		"ID", "    Return the ID of the current connection.",
		"INFO", "    Return information about the current client connection.",
		"KILL <ip:port>", "    Kill connection made from <ip:port>.",
		"KILL <option> <value> [<option> <value> [...]]", "    Kill connections. Options are:",
		"    * ADDR (<ip:port>|<unixsocket>:0)", "      Kill connections made from the specified address",
		"    * LADDR (<ip:port>|<unixsocket>:0)", "      Kill connections made to specified local address",
		"    * ID <client-id>", "      Kill the connection with this ID.",
		"    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)", "      Kill connections by type.",
		"    * USER <username>", "      Kill connections authenticated by <username>.",
		"    * SKIPME (YES|NO)", "      Skip killing current connection (default: yes).",
		"LIST [options ...]", "    Return information about client connections. Options:",
		"    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)", "      Return clients of specified type.",
		"    * ID <client-id> [<client-id> ...]", "      Return the clients with these IDs.",
		"UNBLOCK <clientid> [TIMEOUT|ERROR]", "    End the wait of the specified client.",
		"UNPAUSE", "    Stop the current client pause, resuming traffic.",
		"PAUSE <timeout> [WRITE|ALL]", "    Suspend all, or just write, clients for <timeout> milliseconds.",
		"REPLY (ON|OFF|SKIP)", "    Control the replies sent to the current connection.",
		"SETNAME <name>", "    Assign the name <name> to the current connection.",
		"SETINFO (LIB-NAME|LIB-VER) <value>", "    Set the name or the version of the client library.",
		"NO-EVICT (ON|OFF)", "    Protect current client connection from eviction.",
		"NO-TOUCH (ON|OFF)", "    Will not touch LRU/LFU stats when this mode is on.")
}

func clientID(c *Ctx) { c.Out.Int(int64(c.ID)) }

func clientGetName(c *Ctx) {
	if name := c.name(); name != "" {
		c.Out.BulkString(name)
	} else {
		c.Out.Null()
	}
}

func clientSetName(c *Ctx) {
	if !printable(c.Args[2]) {
		c.Out.Error(errClientName)
		return
	}
	c.setName(string(c.Args[2]))
	c.Out.OK()
}

func clientSetInfo(c *Ctx) {
	var field *string
	switch {
	case c.is(2, "lib-name"):
		field = &c.LibName
	case c.is(2, "lib-ver"):
		field = &c.LibVer
	default:
		c.Out.Error("ERR Unrecognized option '" + quote(c.Args[2]) + "'")
		return
	}
	if !printable(c.Args[3]) {
		c.Out.Error("ERR " + quote(c.Args[2]) + " cannot contain spaces, newlines or special characters.")
		return
	}
	c.Mu.Lock()
	*field = string(c.Args[3])
	c.Mu.Unlock()
	c.Out.OK()
}

// printable says whether a name can stand in a line of CLIENT LIST.
func printable(b []byte) bool {
	return bytes.IndexFunc(b, func(r rune) bool { return r < '!' || r > '~' }) < 0
}

func clientReply(c *Ctx) {
	switch {
	case c.is(2, "on"):
		c.ReplyOff, c.ReplySkip, c.ReplySkipNext = false, false, false
		c.Out.OK()
	case c.is(2, "off"):
		c.ReplyOff = true
	case c.is(2, "skip"):
		if !c.ReplyOff {
			c.ReplySkipNext = true
		}
	default:
		c.syntaxError()
	}
}

// FinishReply drops the reply that a command wrote from Out.Buf[from] on if CLIENT REPLY wants none, and moves SKIP on
// to the next command. Called by dispatch after each command.
func (s *Session) FinishReply(from int) {
	if !s.ReplyOff && !s.ReplySkip && !s.ReplySkipNext {
		return
	}
	if s.ReplyOff || s.ReplySkip {
		s.Out.Buf = s.Out.Buf[:from]
	}
	s.ReplySkip, s.ReplySkipNext = s.ReplySkipNext, false
}

// onOff parses args[2] as ON or OFF, or answers with a syntax error.
func (c *Ctx) onOff() (on, ok bool) {
	switch {
	case c.is(2, "on"):
		return true, true
	case c.is(2, "off"):
		return false, true
	}
	c.syntaxError()
	return false, false
}

func clientNoEvict(c *Ctx) {
	if on, ok := c.onOff(); ok {
		c.NoEvict = on
		c.publish()
		c.Out.OK()
	}
}

func clientNoTouch(c *Ctx) {
	if on, ok := c.onOff(); ok {
		c.NoTouch = on
		c.publish()
		c.Out.OK()
	}
}

func clientPause(c *Ctx) {
	if len(c.Args) > 4 {
		c.subcommandSyntax("CLIENT")
		return
	}
	writeOnly := false
	if len(c.Args) == 4 {
		switch {
		case c.is(3, "write"):
			writeOnly = true
		case !c.is(3, "all"):
			c.Out.Error("ERR CLIENT PAUSE mode must be WRITE or ALL")
			return
		}
	}
	ms, ok := types.ParseInt(c.Args[2])
	now := time.Now()
	switch {
	case !ok:
		c.Out.Error("ERR timeout is not an integer or out of range")
	case ms < 0:
		c.Out.Error("ERR timeout is negative")
	case ms > math.MaxInt64-now.UnixMilli():
		c.Out.Error("ERR timeout is out of range")
	default:
		until := time.UnixMilli(now.UnixMilli() + ms)
		c.Node.Clients.Pause(until, writeOnly)
		c.Node.Store.PauseExpire(until)
		c.Out.OK()
	}
}

func clientUnpause(c *Ctx) {
	c.Node.Clients.Unpause()
	c.Node.Store.PauseExpire(time.Time{})
	c.Out.OK()
}

// clientUnblock ends the wait of a connection whose command has a time-out.
func clientUnblock(c *Ctx) {
	if len(c.Args) > 4 {
		c.subcommandSyntax("CLIENT")
		return
	}
	text := ""
	if len(c.Args) == 4 {
		switch {
		case c.is(3, "error"):
			text = resp.ErrUnblocked
		case !c.is(3, "timeout"):
			c.Out.Error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
			return
		}
	}
	id, ok := c.int(2)
	if !ok {
		return
	}
	s, found := c.Node.Clients.Get(uint64(id))
	if !found {
		c.Out.Int(0)
		return
	}
	unblock := s.unblock.Load()
	c.bool01(unblock != nil && (*unblock)(text))
}

// clientType returns the name of the class that TYPE word means, "" for none.
func clientType(word []byte) string {
	for _, t := range []string{"normal", "master", "replica", "pubsub"} {
		if equalFold(word, t) {
			return t
		}
	}
	if equalFold(word, "slave") {
		return "replica"
	}
	return ""
}

// class is the session's clientType.
func (s *Session) class() string {
	if s.Replica.Load() {
		return "replica"
	}
	return "normal"
}

func clientInfo(c *Ctx) {
	c.Out.Verbatim("txt", c.describe(time.Now())+"\n")
}

func clientList(c *Ctx) {
	sessions, ok := c.listed()
	if !ok {
		return
	}
	var text []byte
	now := time.Now()
	for _, s := range sessions {
		text = append(append(text, s.describe(now)...), '\n')
	}
	c.Out.Verbatim("txt", string(text))
}

// listed are the sessions that the arguments of CLIENT LIST select.
func (c *Ctx) listed() (sessions []*Session, ok bool) {
	switch {
	case len(c.Args) == 2:
		return c.Node.Clients.sorted(), true
	case len(c.Args) == 4 && c.is(2, "type"):
		class := clientType(c.Args[3])
		if class == "" {
			c.Out.Error("ERR Unknown client type '" + string(resp.CString(c.Args[3])) + "'")
			return nil, false
		}
		all := c.Node.Clients.sorted()
		return slices.DeleteFunc(all, func(s *Session) bool { return s.class() != class }), true
	case len(c.Args) > 3 && c.is(2, "id"):
		for _, a := range c.Args[3:] {
			id, ok := types.ParseInt(a)
			if !ok {
				c.Out.Error("ERR Invalid client ID")
				return nil, false
			}
			if s, ok := c.Node.Clients.Get(uint64(id)); ok && !slices.Contains(sessions, s) {
				sessions = append(sessions, s)
			}
		}
		return sessions, true
	}
	c.syntaxError()
	return nil, false
}

// describe is the session's line of CLIENT LIST. Fields without a meaning here have Redis's neutral value.
func (s *Session) describe(now time.Time) string {
	s.Mu.Lock()
	st, name, libName, libVer := s.shown, s.Name, s.LibName, s.LibVer
	s.Mu.Unlock()
	cmd := "NULL"
	if c := s.LastCmd.Load(); c != nil {
		cmd = c.Name
	}
	query, free, out := s.QueryBuf.Load(), s.QueryFree.Load(), s.OutBuf.Load()
	events := "r"
	if out > 0 {
		events = "rw"
	}
	proto := 2
	if st.proto3 {
		proto = 3
	}
	return fmt.Sprintf("id=%d addr=%s laddr=%s fd=%d name=%s age=%d idle=%d flags=%s db=%d sub=0 psub=0 ssub=0 multi=%d "+
		"qbuf=%d qbuf-free=%d argv-mem=0 multi-mem=%d rbs=0 rbp=0 obl=%d oll=0 omem=0 tot-mem=%d events=%s cmd=%s user=%s redir=-1 resp=%d "+
		"lib-name=%s lib-ver=%s",
		s.ID, s.Addr, s.LAddr, s.FD, name, int64(now.Sub(s.Created).Seconds()), max(now.UnixMilli()-s.LastActive.Load(), 0)/1000,
		s.flags(st), st.db, st.multi, query, free, st.multiBytes, out, query+free+out+int64(st.multiBytes), events, cmd, st.user, proto,
		libName, libVer)
}

// flags are the letters of CLIENT LIST.
func (s *Session) flags(st sessionState) string {
	var f []byte
	add := func(on bool, letter byte) {
		if on {
			f = append(f, letter)
		}
	}
	add(s.Replica.Load(), 'S')
	add(st.multi >= 0, 'x')
	add(s.Blocked.Load(), 'b')
	add(s.Dirty.Load(), 'd')
	add(st.closing, 'c')
	add(s.Unix, 'U')
	add(st.readOnly, 'r')
	add(st.noEvict, 'e')
	add(st.noTouch, 'T')
	if len(f) == 0 {
		return "N"
	}
	return string(f)
}

// killFilter is what CLIENT KILL looks for; zero fields match all.
type killFilter struct {
	id          uint64
	addr, laddr []byte
	user, class string
	skipMe      bool
}

func (f *killFilter) matches(s *Session) bool {
	s.Mu.Lock()
	user := s.shown.user
	s.Mu.Unlock()
	return (f.id == 0 || f.id == s.ID) &&
		(f.addr == nil || string(f.addr) == s.Addr) &&
		(f.laddr == nil || string(f.laddr) == s.LAddr) &&
		(f.user == "" || f.user == user) &&
		(f.class == "" || f.class == s.class())
}

func clientKill(c *Ctx) {
	old := len(c.Args) == 3
	var f killFilter
	if old {
		f.addr = c.Args[2] // the old form may kill its own connection
	} else {
		var ok bool
		if f, ok = c.killFilter(); !ok {
			return
		}
	}
	killed := 0
	c.Node.Clients.Each(func(s *Session) bool {
		switch {
		case !f.matches(s) || s == c.Session && f.skipMe:
			return true
		case s == c.Session:
			c.close()
		case s.Kill != nil:
			s.Kill()
		}
		killed++
		return true
	})
	switch {
	case !old:
		c.Out.Int(int64(killed))
	case killed == 0:
		c.Out.Error("ERR No such client")
	default:
		c.Out.OK()
	}
}

func (c *Ctx) killFilter() (f killFilter, ok bool) {
	f.skipMe = true
	fail := func(text string) (killFilter, bool) {
		c.Out.Error("ERR " + text)
		return f, false
	}
	for i := 2; i < len(c.Args); i += 2 {
		if i+1 == len(c.Args) {
			return fail("syntax error")
		}
		value := c.Args[i+1]
		switch {
		case c.is(i, "id"):
			id, err := strconv.ParseUint(string(value), 10, 63)
			if err != nil || id == 0 {
				return fail("client-id should be greater than 0")
			}
			f.id = id
		case c.is(i, "type"):
			if f.class = clientType(value); f.class == "" {
				return fail("Unknown client type '" + string(resp.CString(value)) + "'")
			}
		case c.is(i, "addr"):
			f.addr = value
		case c.is(i, "laddr"):
			f.laddr = value
		case c.is(i, "user"):
			if f.user = string(value); f.user != DefaultUser {
				return fail("No such user '" + string(resp.CString(value)) + "'")
			}
		case c.is(i, "skipme") && equalFold(value, "yes"):
			f.skipMe = true
		case c.is(i, "skipme") && equalFold(value, "no"):
			f.skipMe = false
		default:
			return fail("syntax error")
		}
	}
	return f, true
}
