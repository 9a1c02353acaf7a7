package main

import (
	"encoding/binary"
	"fmt"
	"hash/crc64"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cairndb/cairn/tools/difftest/differences"
)

// connections that a case uses: the first two run anything, the last one
// never enters MULTI and does what needs that.
const connections = 3

type stepKind uint8

const (
	stepCommand stepKind = iota
	stepRaw              // args[0] is sent as it is on a connection of its own; everything that comes back is compared
	stepSilent           // args are a burst of space-separated commands of which exactly the last one answers
	stepCross            // DUMP args[0] on each side, RESTORE it as args[1] on the other
	stepScan             // iterate over the whole database with args as SCAN's options
	stepBlock            // some commands wait, others write; args[0] is a name
	stepRestart          // stop ("TERM") both servers, or kill ("KILL") Cairn, and start them again
)

// step is one thing done alike to both servers.
type step struct {
	kind stepKind
	conn int
	args []string

	begin, wait, write [][]string // of stepBlock
}

func (s step) String() string {
	quoted := make([]string, len(s.args))
	for i, a := range s.args {
		if len(a) > 200 {
			a = a[:200] + fmt.Sprintf("…(%d bytes)", len(a))
		}
		quoted[i] = strconv.Quote(a)
	}
	if s.kind == stepBlock {
		return fmt.Sprintf("wait %q, write %q", s.wait, s.write)
	}
	name := [...]string{"", "raw ", "silent ", "cross ", "scan ", "", "restart "}[s.kind]
	return fmt.Sprintf("%d> %s%s", s.conn, name, strings.Join(quoted, " "))
}

// generator draws the steps of a case from its seed alone (and from the hour, for absolute times).
type generator struct {
	rng      *rand.Rand
	families []*weighted
	sets     bool     // is one of them
	scenes   []string // of blockScenes
	timed    bool     // the command drawn has an expiry: its numbers must not be mutated
	tags     []string // of a cluster's keys: the slots that move
	tag      string   // of the command that is drawn
	tame     bool     // no damage
	restarts bool     // the servers restart: Redis builds its data anew from commands, under the sizes of its start
	now      time.Time
}

func newGenerator(seed uint64, names []string) *generator {
	g := &generator{rng: rand.New(rand.NewPCG(seed, 0)), now: time.Now().Truncate(time.Hour)}
	for _, name := range names {
		g.families = append(g.families, parsedFamilies[name])
		if _, waits := blockScenes[name]; waits {
			g.scenes = append(g.scenes, name)
		}
		g.sets = g.sets || name == "sets"
	}
	return g
}

var parsedFamilies = func() map[string]*weighted {
	parsed := make(map[string]*weighted)
	for name, lines := range families {
		parsed[name] = parseFamily(lines)
	}
	return parsed
}()

// steps draws a case of about n commands; restart puts a restart of the servers into its middle.
func (g *generator) steps(n int, restart string) []step {
	steps := []step{{conn: 1, args: []string{"HELLO", "3"}}}
	if g.restarts = restart != "" && !g.clustered(); g.restarts {
		steps = append(steps, step{args: slices.Concat([]string{"CONFIG", "SET"}, startSizes)})
	}
	for len(steps) < n {
		if restart != "" && len(steps) >= n/2 {
			steps = append(steps, step{kind: stepRestart, args: []string{restart}}, step{conn: 1, args: []string{"HELLO", "3"}})
			restart = ""
		}
		switch p := g.rng.IntN(1000); {
		case p < 20:
			steps = append(steps, g.transaction()...)
		case p < 24 && !g.clustered():
			steps = append(steps, step{kind: stepRaw, args: []string{g.pick(rawRequests)}})
		case p < 27 && !g.clustered():
			steps = append(steps, step{kind: stepSilent, conn: connections - 1, args: []string{g.pick(silentBursts)}})
		case p < 37:
			steps = append(steps, g.cross())
		case p < 41 && !g.clustered():
			steps = append(steps, step{kind: stepScan, conn: connections - 1, args: g.scanOptions()})
		case p < 46 && !g.clustered():
			steps = append(steps, g.blocked()...)
		case g.sets && p < 61:
			steps = append(steps, g.popped()...)
		default:
			steps = g.burst(steps, g.rng.IntN(connections), 1+g.rng.IntN(8))
		}
	}
	return steps
}

// crossed is where values of all types are restored, for a moment.
const crossed = "crossed"

// cross carries a string from key to key, or any value over and back.
func (g *generator) cross() step {
	g.changeTag()
	args := []string{g.draw("key"), g.draw("key")}
	if g.rng.IntN(4) != 0 {
		args = []string{g.draw(g.pick([]string{"hash", "list", "set", "zset", "stream", "hll"})), g.tagged(crossed)}
	}
	return step{kind: stepCross, conn: connections - 1, args: args}
}

// burst appends commands for one connection, of which several may be sent at once.
func (g *generator) burst(steps []step, conn, n int) []step {
	for range n {
		args := g.command()
		if conn == connections-1 && changesQueue(args[0]) {
			continue
		}
		steps = append(steps, step{conn: conn, args: args})
	}
	return steps
}

func changesQueue(name string) bool { return strings.EqualFold(name, "MULTI") }

// transaction is WATCH, MULTI and EXEC on one connection with another one in between.
func (g *generator) transaction() []step {
	g.changeTag()
	g.tame = g.clustered() // else its commands may be for several slots
	defer func() { g.tame = false }()
	a := g.rng.IntN(2)
	b := (a + 1 + g.rng.IntN(2)) % connections
	var steps []step
	add := func(conn int, args ...string) { steps = append(steps, step{conn: conn, args: args}) }
	if g.rng.IntN(2) == 0 {
		add(a, "WATCH", g.draw("key"), g.draw("key"))
	}
	if g.rng.IntN(3) == 0 {
		steps = g.burst(steps, b, 1)
	}
	add(a, "MULTI")
	steps = g.burst(steps, a, g.rng.IntN(6))
	if g.rng.IntN(3) == 0 {
		steps = g.burst(steps, b, 1+g.rng.IntN(2))
	}
	end := "EXEC"
	if g.rng.IntN(6) == 0 {
		end = "DISCARD"
	}
	add(a, end)
	return steps
}

// popped makes a set, takes members out at random, looks at how many are left, and deletes it: they need not be the same ones.
func (g *generator) popped() []step {
	add := func(args ...string) step { return step{conn: connections - 1, args: args} }
	g.changeTag()
	popped := g.tagged("popped")
	sadd := []string{"SADD", popped}
	for range 1 + g.rng.IntN(20) {
		sadd = append(sadd, g.draw("setmember"))
	}
	steps := []step{add(sadd...)}
	for range 1 + g.rng.IntN(4) {
		switch g.rng.IntN(3) {
		case 0:
			steps = append(steps, add("SPOP", popped))
		case 1:
			steps = append(steps, add("SPOP", popped, g.draw("few")))
		case 2:
			steps = append(steps, add("SRANDMEMBER", popped, strconv.Itoa(g.rng.IntN(30)-10)))
		}
		steps = append(steps, add("SCARD", popped))
	}
	return append(steps, add("DEL", popped))
}

func (g *generator) scanOptions() []string {
	var options []string
	if g.rng.IntN(2) == 0 {
		options = append(options, "COUNT", strconv.Itoa(1+g.rng.IntN(20)))
	}
	if g.rng.IntN(3) == 0 {
		options = append(options, "MATCH", g.pick(globs))
	}
	if g.rng.IntN(4) == 0 {
		options = append(options, "TYPE", "string")
	}
	return options
}

// command draws a command and, now and then, damages it.
func (g *generator) command() []string {
	family := g.families[g.rng.IntN(len(g.families))]
	g.timed = false
	if !g.tame {
		g.changeTag()
	}
	args := family.pick(g.rng).expand(g, nil)
	switch p := g.rng.IntN(100); {
	case g.tame:
	case p < 2:
		args = args[:1+g.rng.IntN(len(args))]
	case p < 4:
		args = append(args, g.draw("edge"))
	case p < 6 && len(args) > 1:
		args[1+g.rng.IntN(len(args)-1)] = g.draw("edge")
	case p < 7 && len(args) > 2 && !g.timed:
		i, j := 1+g.rng.IntN(len(args)-1), 1+g.rng.IntN(len(args)-1)
		args[i], args[j] = args[j], args[i]
	}
	if unsafeCommand(args) || g.clustered() && ofOneNode(args) || g.tame && differences.Is(args, "config") || differences.Is(args, "config", "set") && (g.restarts && setsSize(args) || strings.Contains(strings.Join(args, ""), "\x00")) {
		return []string{"PING"}
	}
	return args
}

// startSizes are the directives that say how Redis groups what it stores, as they are at its start.
var startSizes = []string{"stream-node-max-entries", "100", "stream-node-max-bytes", "4096"}

func setsSize(args []string) bool {
	return differences.Is(args, "config", "set") && slices.ContainsFunc(args, func(a string) bool { return slices.Contains(startSizes, strings.ToLower(a)) })
}

func (g *generator) clustered() bool { return len(g.tags) > 0 }

// changeTag chooses the slot of what is drawn next.
func (g *generator) changeTag() {
	if g.clustered() {
		g.tag = g.pick(g.tags)
	}
}

// tagged is a key's name in the slot that was chosen.
func (g *generator) tagged(key string) string {
	if !g.clustered() {
		return key
	}
	return "{" + g.tag + "}" + key
}

// untagged is the name without what tagged has put before it.
func untagged(key string) string {
	if _, rest, ok := strings.Cut(key, "}"); ok && strings.HasPrefix(key, "{") {
		return rest
	}
	return key
}

// ofOneNode are commands whose answer is about one node of a cluster: its keys come and go. What approximate trimming deletes depends on how the entries
// are grouped, which MIGRATE does not carry.
func ofOneNode(args []string) bool {
	return slices.Contains([]string{"keys", "randomkey", "scan", "dbsize", "debug"}, strings.ToLower(args[0])) ||
		(differences.Is(args, "xadd") || differences.Is(args, "xtrim")) && slices.Contains(args, "~")
}

const leastInt = "-9223372036854775808"

// unsafeCommand keeps a damaged command from being one that would end the comparison.
func unsafeCommand(args []string) bool {
	name := strings.ToLower(args[0])
	if name == "client" && len(args) > 2 && strings.EqualFold(args[1], "reply") {
		return slices.ContainsFunc(args[2:], func(a string) bool {
			return strings.EqualFold(a, "off") || strings.EqualFold(a, "skip")
		})
	}
	// Redis 7.0 sets the name of a HELLO that fails afterwards.
	if name == "hello" && len(args) > 2 && !strings.EqualFold(args[len(args)-2], "SETNAME") {
		return slices.ContainsFunc(args, func(a string) bool { return strings.EqualFold(a, "setname") })
	}
	switch name {
	case "shutdown":
		return true
	case "xadd":
		return slices.Contains(args, "*") // ids from the clock differ
	case "spop": // what is popped must be the same
		if len(args) < 3 {
			return len(args) == 2
		}
		n, err := strconv.Atoi(args[2])
		return err == nil && n > 0 && n < 100_000
	case "srandmember": // a reply of some exabytes
		if len(args) < 3 {
			return false
		}
		n, err := strconv.Atoi(args[2])
		return err == nil && n < -1000
	case "lrem":
		return len(args) > 2 && args[2] == leastInt // Redis 7.0 takes it for a count, and removes more than it says
	case "zrank", "zrevrank":
		return len(args) > 3 // Redis 7.0 has no WITHSCORE, and lets it spoil a transaction
	case "zadd": // see the pool lexset
		return len(args) > 1 && strings.HasPrefix(untagged(args[1]), "lex") && slices.ContainsFunc(everySecond(args[2:]), func(score string) bool { return score != "0" })
	}
	return false
}

func everySecond(args []string) (some []string) {
	for i := 0; i < len(args); i += 2 {
		some = append(some, args[i])
	}
	return some
}

func (g *generator) pick(pool []string) string { return pool[g.rng.IntN(len(pool))] }

// letterCase varies the letters of names and options.
func (g *generator) letterCase(s string) string {
	switch g.rng.IntN(6) {
	case 0:
		return strings.ToLower(s)
	case 1:
		b := []byte(strings.ToLower(s))
		for i := range b {
			if g.rng.IntN(2) == 0 {
				b[i] = strings.ToUpper(string(b[i : i+1]))[0]
			}
		}
		return string(b)
	}
	return s
}

// draw returns a value of the pool that a template's hole names.
func (g *generator) draw(name string) string {
	if pool, ok := pools[name]; ok {
		v := g.pick(pool)
		if slices.Contains(keyPools, name) {
			return g.tagged(v)
		}
		return v
	}
	switch name {
	case "int":
		return g.mixed(ints, func() string { return strconv.Itoa(g.rng.IntN(200) - 100) })
	case "lon":
		return g.mixed(lons, func() string { return strconv.FormatFloat((g.rng.Float64()-0.5)*360, 'f', g.rng.IntN(15), 64) })
	case "lat":
		return g.mixed(lats, func() string { return strconv.FormatFloat((g.rng.Float64()-0.5)*170, 'f', g.rng.IntN(15), 64) })
	case "radius":
		return g.mixed(radii, func() string { return strconv.FormatFloat(g.rng.ExpFloat64()*3000, 'f', g.rng.IntN(6), 64) })
	case "index":
		return g.mixed(indexes, func() string { return strconv.Itoa(g.rng.IntN(60) - 20) })
	case "offset":
		return g.mixed(offsets, func() string { return strconv.Itoa(g.rng.IntN(50)) })
	case "bitoffset":
		return g.mixed(bitOffsets, func() string { return strconv.Itoa(g.rng.IntN(300)) })
	case "number":
		if g.rng.IntN(3) == 0 {
			return g.draw("float")
		}
		return g.draw("int")
	case "float":
		return g.mixed(floats, func() string {
			return strconv.FormatFloat((g.rng.Float64()-0.5)*1000, 'f', g.rng.IntN(12), 64)
		})
	case "value":
		return g.value()
	case "item":
		return g.item()
	case "score":
		return g.mixed(floats, func() string { return strconv.Itoa(g.rng.IntN(9) - 4) })
	case "scorelimit":
		return g.mixed(scoreLimits, func() string { return g.pick([]string{"", "", "("}) + strconv.Itoa(g.rng.IntN(9)-4) })
	case "bittype":
		return g.mixed(bitTypes, func() string { return g.pick([]string{"u", "i"}) + strconv.Itoa(1+g.rng.IntN(63)) })
	case "bitpos":
		return g.mixed(bitPositions, func() string {
			return g.pick([]string{"", "#"}) + strconv.Itoa(g.rng.IntN(100))
		})
	case "element":
		return g.mixed(values, func() string { return strconv.Itoa(g.rng.IntN(10_000)) })
	case "command":
		return g.letterCase(g.pick(commandNames))
	case "dump":
		return g.dump()
	}
	return g.time(name)
}

// mixed draws from a pool of special cases or calls usual, half and half.
func (g *generator) mixed(pool []string, usual func() string) string {
	if g.rng.IntN(2) == 0 {
		return g.pick(pool)
	}
	return usual()
}

// time draws an expiry that lies so far ahead, or so surely in the past, that
// its effect does not depend on when it is executed.
func (g *generator) time(name string) string {
	g.timed = true
	if g.rng.IntN(4) == 0 {
		return g.pick(times)
	}
	ahead := 100_000 + g.rng.Int64N(100_000_000)
	switch name {
	case "seconds":
		return strconv.FormatInt(ahead, 10)
	case "millis":
		return strconv.FormatInt(ahead*1000, 10)
	case "unix":
		return strconv.FormatInt(g.now.Unix()+ahead, 10)
	case "unixms":
		return strconv.FormatInt((g.now.Unix()+ahead)*1000+g.rng.Int64N(1000), 10)
	}
	panic("no pool named " + name)
}

func (g *generator) value() string {
	switch g.rng.IntN(8) {
	case 0:
		return g.draw("number")
	case 1:
		b := make([]byte, g.rng.IntN(70))
		for i := range b {
			b[i] = byte(g.rng.Uint32())
		}
		return string(b)
	case 2:
		return strings.Repeat(g.draw("word"), 1+g.rng.IntN(12))
	case 3:
		if g.rng.IntN(8) == 0 {
			return strings.Repeat(g.pick([]string{"x", "ab", "\x00", "\xff\x0f"}), g.pickInt(bigLengths)/2)
		}
	}
	return g.pick(values)
}

// item draws an element of a list from so few that those of LINSERT, LREM and LPOS are there, but now and then something else.
func (g *generator) item() string {
	if g.rng.IntN(8) == 0 {
		return g.value()
	}
	return g.pick(items)
}

func (g *generator) pickInt(pool []int) int { return pool[g.rng.IntN(len(pool))] }

// crcTable is the CRC-64 (Jones, reflected) that ends a DUMP payload.
var crcTable = crc64.MakeTable(bits.Reverse64(0xad93d23594c935a9))

// dump builds DUMP payloads of strings: plain ones and integers, with right and wrong versions and checksums.
func (g *generator) dump() string {
	var b []byte
	if g.rng.IntN(2) == 0 {
		s := g.draw("word")
		b = append([]byte{0, byte(len(s))}, s...)
	} else {
		b = []byte{0, 0xC0, byte(g.rng.Uint32())}
	}
	version := uint16(10)
	damage := g.rng.IntN(8)
	if damage == 0 {
		version = 999
	}
	b = binary.LittleEndian.AppendUint16(b, version)
	sum := ^crc64.Update(^uint64(0), crcTable, b)
	if damage == 1 {
		sum++
	}
	b = binary.LittleEndian.AppendUint64(b, sum)
	if damage == 2 {
		b = b[:g.rng.IntN(len(b))]
	}
	return string(b)
}
