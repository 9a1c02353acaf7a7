package command

import (
	"fmt"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/cairndb/cairn/engine"
)

var memoryTips = []string{"nondeterministic_output", "request_policy:all_shards", "response_policy:special"}

var memoryCommands = []*Command{{
	Name: "memory", Arity: -2, Flags: Unlocked, Group: "server", Since: "4.0.0", Complexity: "Depends on subcommand.",
	Summary: "Holds the commands about memory.",
	Sub: []*Command{
		{Name: "memory|usage", Arity: -3, Flags: ReadOnly, Run: memoryUsage,
			Keys:  []KeySpec{{Flags: []string{"RO"}, BeginIndex: 2, Step: 1}},
			Group: "server", Since: "4.0.0", Complexity: "O(N) where N is the number of samples.",
			Summary: "Estimates the bytes that a key and its value take.",
			Args:    []Arg{keyArg("key", 0), arg("count", "integer").tok("SAMPLES").opt()}},
		memoryRow("doctor", "O(1)", memoryDoctor, "Looks for problems with memory.", Unlocked, memoryTips...),
		memoryRow("stats", "O(1)", memoryStats, "Tells what memory is used for.", Unlocked, memoryTips...),
		memoryRow("malloc-stats", "Depends on how much memory is allocated, could be slow", memoryMallocStats,
			"Returns the Go runtime's account of its memory.", Unlocked, memoryTips...),
		memoryRow("purge", "Depends on how much memory is allocated, could be slow", memoryPurge,
			"Returns free memory to the operating system.", Unlocked|Slow, "request_policy:all_shards", "response_policy:all_succeeded"),
		memoryRow("help", "O(1)", memoryHelp, "Describes the subcommands.", Unlocked|Loading|Stale),
	},
}}

func memoryRow(name, complexity string, run func(*Ctx), summary string, flags Flags, tips ...string) *Command {
	return &Command{Name: "memory|" + name, Arity: 2, Flags: flags, Run: run, Group: "server", Since: "4.0.0",
		Complexity: complexity, Summary: summary, Tips: tips}
}

func memoryHelp(c *Ctx) {
	c.help("MEMORY",
		"DOCTOR", "    Return memory problems reports.",
		"MALLOC-STATS", "    Return internal statistics report from the memory allocator.",
		"PURGE", "    Attempt to purge dirty pages for reclamation by the allocator.",
		"STATS", "    Return information about the memory usage of the server.",
		"USAGE <key> [SAMPLES <count>]",
		"    Return the bytes that <key> and its value take in the store, before",
		"    compression. SAMPLES is accepted and not needed: the size is known.")
}

// recordOverhead is what a key costs beside its name and value: the key's prefix and the header.
const recordOverhead = 7 + 16

func memoryUsage(c *Ctx) {
	for i := 3; i < len(c.Args); i += 2 {
		if !c.is(i, "samples") || i+1 == len(c.Args) {
			c.syntaxError()
			return
		}
		n, ok := c.int(i + 1)
		if !ok {
			return
		}
		if n < 0 {
			c.syntaxError()
			return
		}
	}
	r, ok, err := c.Txn.Get(c.Key(2))
	switch {
	case err != nil:
		c.Fail(err)
	case !ok:
		c.Out.Null()
	default:
		c.Out.Int(int64(recordOverhead+len(c.Args[2])+len(r.Value)) + int64(r.Spread()))
	}
}

// memoryUse is what the process holds, in bytes.
type memoryUse struct {
	used      uint64 // by the Go runtime, without what it keeps free, and by the caches outside its heap
	allocated uint64 // live and not yet collected objects
	active    uint64 // pages of the heap in use
	resident  uint64 // what the runtime has not returned to the operating system
	rss       uint64 // as the operating system sees it
}

var memoryMetrics = []string{
	"/memory/classes/total:bytes",
	"/memory/classes/heap/released:bytes",
	"/memory/classes/heap/free:bytes",
	"/memory/classes/heap/objects:bytes",
	"/memory/classes/heap/unused:bytes",
}

// goMemory reads the Go runtime's account.
func goMemory() (m memoryUse) {
	samples := make([]metrics.Sample, len(memoryMetrics))
	for i, name := range memoryMetrics {
		samples[i].Name = name
	}
	metrics.Read(samples)
	v := func(i int) uint64 { return samples[i].Value.Uint64() }
	m.resident = v(0) - v(1)
	m.used = m.resident - v(2)
	m.allocated = v(3)
	m.active = v(3) + v(4)
	return m
}

// memory is goMemory with the resident set size.
func (n *Node) memory() memoryUse {
	m := goMemory()
	m.rss = residentSetSize(m.resident)
	n.Stats.peakMemory.max(m.used)
	return m
}

// peak is the greatest value seen.
type peak struct{ atomic.Uint64 }

func (p *peak) max(v uint64) {
	for old := p.Load(); v > old; old = p.Load() {
		if p.CompareAndSwap(old, v) {
			return
		}
	}
}

// residentSetSize asks Linux; elsewhere it is what the Go runtime holds.
func residentSetSize(otherwise uint64) uint64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return otherwise
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return otherwise
	}
	pages, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return otherwise
	}
	return pages * uint64(os.Getpagesize())
}

// totalMemory is the machine's memory, 0 where it cannot be told.
func totalMemory() uint64 {
	b, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "MemTotal:" {
			kib, _ := strconv.ParseUint(f[1], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// clientUse is what the connections hold in buffers and queues, the largest buffers, and how many connections wait.
type clientUse struct{ total, maxIn, maxOut, blocked int64 }

func (n *Node) clientUse() (u clientUse) {
	n.Clients.Each(func(s *Session) bool {
		in, out := s.QueryBuf.Load()+s.QueryFree.Load(), s.OutBuf.Load()
		s.Mu.Lock()
		u.total += int64(s.shown.multiBytes)
		s.Mu.Unlock()
		u.total += in + out
		u.maxIn, u.maxOut = max(u.maxIn, in), max(u.maxOut, out)
		if s.Blocked.Load() {
			u.blocked++
		}
		return true
	})
	return u
}

func ratio(a, b uint64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

func percent(a, b int64) float64 {
	if b <= 0 {
		return 0
	}
	return float64(a) / float64(b) * 100
}

// memoryReport is what INFO memory and MEMORY STATS derive from the same figures.
type memoryReport struct {
	memoryUse
	peak, startup, clients, overhead, dataset int64
	datasetPercent, peakPercent               float64
	keys                                      int64
	databases                                 []int // that hold keys
}

func (n *Node) memoryReport(store *engine.Stats) memoryReport {
	r := memoryReport{memoryUse: n.memory()}
	r.peak = int64(n.Stats.peakMemory.Load())
	r.startup = int64(n.Stats.startupMemory)
	r.clients = n.clientUse().total
	r.overhead = min(r.startup+r.clients, int64(r.used))
	r.dataset = int64(r.used) - r.overhead
	r.datasetPercent = percent(r.dataset, int64(r.used)-r.startup)
	r.peakPercent = percent(int64(r.used), r.peak)
	for db := range n.Store.Databases() {
		if keys := n.Store.DBCounts(n.Store.DB(db)).Keys; keys > 0 {
			r.keys += keys
			r.databases = append(r.databases, db)
		}
	}
	return r
}

func memoryStats(c *Ctx) {
	stats := c.Node.Store.Stats()
	r := c.Node.memoryReport(&stats)
	w := &c.Out
	number := func(name string, v int64) { w.BulkString(name); w.Int(v) }
	double := func(name string, v float64) { w.BulkString(name); w.Double(v) }
	w.Map(27 + len(r.databases))
	number("peak.allocated", r.peak)
	number("total.allocated", int64(r.used))
	number("startup.allocated", r.startup)
	number("replication.backlog", 0)
	number("clients.slaves", 0)
	number("clients.normal", r.clients)
	number("cluster.links", 0)
	number("aof.buffer", int64(stats.Log.Buffered))
	number("lua.caches", 0)
	number("functions.caches", 0)
	for _, db := range r.databases {
		w.BulkString("db." + strconv.Itoa(db))
		w.Map(3)
		number("overhead.hashtable.main", 0)
		number("overhead.hashtable.expires", 0)
		number("overhead.hashtable.slot-to-keys", 0)
	}
	number("overhead.total", r.overhead)
	number("keys.count", r.keys)
	number("keys.bytes-per-key", (int64(r.used)-r.startup)/max(r.keys, 1))
	number("dataset.bytes", r.dataset)
	double("dataset.percentage", r.datasetPercent)
	double("peak.percentage", r.peakPercent)
	number("allocator.allocated", int64(r.allocated))
	number("allocator.active", int64(r.active))
	number("allocator.resident", int64(r.resident))
	double("allocator-fragmentation.ratio", ratio(r.active, r.allocated))
	number("allocator-fragmentation.bytes", int64(r.active)-int64(r.allocated))
	double("allocator-rss.ratio", ratio(r.resident, r.active))
	number("allocator-rss.bytes", int64(r.resident)-int64(r.active))
	double("rss-overhead.ratio", ratio(r.rss, r.resident))
	number("rss-overhead.bytes", int64(r.rss)-int64(r.resident))
	double("fragmentation", ratio(r.rss, r.used))
	number("fragmentation.bytes", int64(r.rss)-int64(r.used))
}

func memoryPurge(c *Ctx) {
	debug.FreeOSMemory()
	c.Out.OK()
}

func memoryMallocStats(c *Ctx) {
	var samples []metrics.Sample
	for _, d := range metrics.All() {
		if strings.HasPrefix(d.Name, "/memory/classes/") || strings.HasPrefix(d.Name, "/gc/heap/") && d.Kind == metrics.KindUint64 {
			samples = append(samples, metrics.Sample{Name: d.Name})
		}
	}
	metrics.Read(samples)
	var b strings.Builder
	for _, s := range samples {
		fmt.Fprintf(&b, "%s %d\n", s.Name, s.Value.Uint64())
	}
	c.Out.Verbatim("txt", b.String())
}

// What MEMORY DOCTOR calls a problem.
const (
	doctorSmall          = 5 << 20 // below, ratios mean nothing
	doctorPeakRatio      = 1.5
	doctorFragmentation  = 1.4
	doctorFragmentBytes  = 10 << 20
	doctorBytesPerClient = 200 << 10
)

func memoryDoctor(c *Ctx) {
	stats := c.Node.Store.Stats()
	c.Out.Verbatim("txt", c.Node.memoryDiagnosis(c.Node.memoryReport(&stats)))
}

func (n *Node) memoryDiagnosis(r memoryReport) string {
	if r.used < doctorSmall {
		return "The server uses too little memory for its ratios to mean anything: there is nothing to diagnose yet.\n"
	}
	var found []string
	if float64(r.peak) > doctorPeakRatio*float64(r.used) {
		found = append(found, fmt.Sprintf("Peak: %s were in use once, %.1f times what is now. The freed part goes back to the operating system "+
			"by itself; MEMORY PURGE returns it at once.", human(uint64(r.peak)), ratio(uint64(r.peak), r.used)))
	}
	if ratio(r.rss, r.used) > doctorFragmentation && int64(r.rss)-int64(r.used) > doctorFragmentBytes {
		found = append(found, fmt.Sprintf("Resident set: the operating system counts %s, %.1f times what is in use. The garbage collector keeps room "+
			"to work in; memory-limit bounds it.", human(r.rss), ratio(r.rss, r.used)))
	}
	if clients := int64(n.Clients.Len()); clients > 0 && r.clients/clients > doctorBytesPerClient {
		found = append(found, fmt.Sprintf("Clients: a connection's buffers hold %s on average. Look for large pipelines, or for clients that do not read "+
			"their replies: CLIENT LIST shows them.", human(uint64(r.clients/clients))))
	}
	if len(found) == 0 {
		return "No memory problem was found.\n"
	}
	return "Found in this server's memory:\n\n * " + strings.Join(found, "\n\n * ") + "\n"
}

// human writes a size as INFO's *_human fields do.
func human(n uint64) string {
	if n < 1024 {
		return fmt.Sprintf("%dB", n)
	}
	v, unit := float64(n), 0
	for v >= 1024 && unit < 5 {
		v /= 1024
		unit++
	}
	return fmt.Sprintf("%.2f%c", v, " KMGTP"[unit])
}
