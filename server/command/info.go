package command

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cairndb/cairn/engine"
)

var infoCommands = []*Command{{
	Name: "info", Arity: -1, Flags: Loading | Stale | Sentinel, Run: info, Categories: []string{"dangerous"},
	Group: "server", Since: "1.0.0", Complexity: "O(1)",
	Summary: "Returns facts and counters about the server, by section.",
	Tips:    []string{"nondeterministic_output", "request_policy:all_shards", "response_policy:special"},
	History: [][2]string{{"7.0.0", "Added support for taking multiple section arguments."}},
	Args:    []Arg{arg("section", "string").opt().many()},
}}

// infoSection is one section of INFO. Names of sections and fields are Redis's; cairn_version and the section Engine are Cairn's own.
type infoSection struct {
	name, title string
	byDefault   bool
	write       func(n *Node, w *infoWriter)
}

// infoSections stand in the order in which INFO prints them.
var infoSections = []infoSection{
	{"server", "Server", true, infoServer},
	{"clients", "Clients", true, infoClients},
	{"memory", "Memory", true, infoMemory},
	{"persistence", "Persistence", true, infoPersistence},
	{"stats", "Stats", true, infoStats},
	{"replication", "Replication", true, infoReplication},
	{"cpu", "CPU", true, infoCPU},
	{"modules", "Modules", true, func(*Node, *infoWriter) {}},
	{"commandstats", "Commandstats", false, infoCommandStats},
	{"errorstats", "Errorstats", true, infoErrorStats},
	{"latencystats", "Latencystats", false, infoLatencyStats},
	{"cluster", "Cluster", true, infoCluster},
	{"keyspace", "Keyspace", true, infoKeyspace},
	{"engine", "Engine", true, infoEngine},
}

// infoWriter collects lines of INFO, which end in CR LF: redis-cli relies on it.
type infoWriter struct {
	b     strings.Builder
	store *engine.Stats // read once for all sections
	txn   *engine.Txn   // counts what it has written itself
}

func (w *infoWriter) field(name string, value any) { fmt.Fprintf(&w.b, "%s:%v\r\n", name, value) }

// size writes a field and its *_human companion.
func (w *infoWriter) size(name string, n uint64) {
	w.field(name, n)
	w.field(name+"_human", human(n))
}

func (w *infoWriter) flag(name string, on bool) {
	n := 0
	if on {
		n = 1
	}
	w.field(name, n)
}

func (w *infoWriter) status(name string, failed bool) {
	if failed {
		w.field(name, "err")
	} else {
		w.field(name, "ok")
	}
}

// zero writes fields that have no meaning here with Redis's neutral value.
func (w *infoWriter) zero(names ...string) {
	for _, name := range names {
		w.field(name, 0)
	}
}

func (w *infoWriter) ratio(name string, v float64)   { w.field(name, strconv.FormatFloat(v, 'f', 2, 64)) }
func (w *infoWriter) percent(name string, v float64) { w.field(name, fmt.Sprintf("%.2f%%", v)) }
func (w *infoWriter) seconds(name string, d time.Duration) {
	w.field(name, fmt.Sprintf("%.6f", d.Seconds()))
}

func info(c *Ctx) {
	c.Out.Verbatim("txt", c.infoText(c.Args[1:]))
}

// infoText is INFO for the sections named: all those printed by default when none is.
func (c *Ctx) infoText(sections [][]byte) string {
	stats := c.Node.Store.Stats()
	w := infoWriter{store: &stats, txn: c.Txn}
	for _, s := range infoSections {
		if !s.wanted(sections) {
			continue
		}
		if w.b.Len() > 0 {
			w.b.WriteString("\r\n")
		}
		w.b.WriteString("# " + s.title + "\r\n")
		s.write(c.Node, &w)
	}
	return w.b.String()
}

func (s *infoSection) wanted(names [][]byte) bool {
	if len(names) == 0 {
		return s.byDefault
	}
	return slices.ContainsFunc(names, func(name []byte) bool {
		return equalFold(name, s.name) || s.byDefault && equalFold(name, "default") ||
			equalFold(name, "all") || equalFold(name, "everything")
	})
}

func infoStats(n *Node, w *infoWriter) {
	s := n.Stats
	in, out := s.NetInput.Load(), s.NetOutput.Load()
	w.field("total_connections_received", s.Connections.Load())
	w.field("total_commands_processed", s.totalCalls())
	w.field("instantaneous_ops_per_sec", int64(s.ops.perSecond()))
	w.field("total_net_input_bytes", in)
	w.field("total_net_output_bytes", out)
	w.zero("total_net_repl_input_bytes", "total_net_repl_output_bytes")
	w.ratio("instantaneous_input_kbps", s.input.perSecond()/1024)
	w.ratio("instantaneous_output_kbps", s.output.perSecond()/1024)
	w.ratio("instantaneous_input_repl_kbps", 0)
	w.ratio("instantaneous_output_repl_kbps", 0)
	w.field("rejected_connections", s.RejectedConnections.Load())
	infoSyncs(n, w)
	w.field("expired_keys", w.store.ExpiredKeys)
	w.field("expired_subkeys", w.store.ExpiredFields)
	w.ratio("expired_stale_perc", 0)
	w.zero("expired_time_cap_reached_count", "expire_cycle_cpu_milliseconds", "evicted_keys", "evicted_clients",
		"total_eviction_exceeded_time", "current_eviction_exceeded_time")
	w.field("keyspace_hits", s.Hits.Load())
	w.field("keyspace_misses", s.Misses.Load())
	w.zero("pubsub_channels", "pubsub_patterns", "pubsubshard_channels", "latest_fork_usec", "total_forks")
	w.field("migrate_cached_sockets", n.Migrations.targets.len())
	w.zero("slave_expires_tracked_keys", "active_defrag_hits", "active_defrag_misses", "active_defrag_key_hits", "active_defrag_key_misses",
		"total_active_defrag_time", "current_active_defrag_time", "tracking_total_keys", "tracking_total_items", "tracking_total_prefixes",
		"unexpected_error_replies")
	w.field("total_error_replies", s.errorReplies.Load())
	w.zero("dump_payload_sanitizations")
	w.field("total_reads_processed", s.Reads.Load())
	w.field("total_writes_processed", s.Writes.Load())
	w.zero("io_threaded_reads_processed", "io_threaded_writes_processed", "reply_buffer_shrinks", "reply_buffer_expands")
	w.field("acl_access_denied_auth", s.AuthFailures.Load())
	w.zero("acl_access_denied_cmd", "acl_access_denied_key", "acl_access_denied_channel")
}

func infoCommandStats(n *Node, w *infoWriter) {
	eachCommand(func(c *Command) {
		s := n.Stats.of(c)
		calls, rejected, failed := s.total.Load(), s.rejected.Load(), s.failed.Load()
		if calls == 0 && rejected == 0 && failed == 0 {
			return
		}
		micros := float64(s.nanos.Load()) / 1000
		w.field("cmdstat_"+c.Name, fmt.Sprintf("calls=%d,usec=%d,usec_per_call=%.2f,rejected_calls=%d,failed_calls=%d",
			calls, int64(micros), micros/float64(max(calls, 1)), rejected, failed))
	})
}

func infoErrorStats(n *Node, w *infoWriter) {
	codes, counts := n.Stats.errorCounts()
	for _, code := range codes {
		w.field("errorstat_"+code, fmt.Sprintf("count=%d", counts[code]))
	}
}

func infoLatencyStats(n *Node, w *infoWriter) {
	if !n.Config.LatencyTracking() {
		return
	}
	percentiles := n.Config.LatencyPercentiles()
	eachCommand(func(c *Command) {
		h := n.Stats.of(c).latency.Load()
		if h == nil {
			return
		}
		values := make([]string, len(percentiles))
		for i, p := range percentiles {
			values[i] = fmt.Sprintf("p%s=%.3f", strconv.FormatFloat(p, 'f', -1, 64), float64(h.percentile(p))/1000)
		}
		w.field("latency_percentiles_usec_"+c.Name, strings.Join(values, ","))
	})
}

func infoCluster(n *Node, w *infoWriter) {
	w.flag("cluster_enabled", n.Cluster != nil)
	if n.Cluster != nil {
		n.groupInfo(w.field)
		n.moveInfo(w.field)
	}
}

func infoKeyspace(n *Node, w *infoWriter) {
	for db := range n.Store.Databases() {
		physical := n.Store.DB(db)
		counts, left := w.txn.DBCounts(physical), n.leftBehind(physical)
		if counts.Keys == left.Keys {
			continue
		}
		w.field("db"+strconv.Itoa(db), fmt.Sprintf("keys=%d,expires=%d,avg_ttl=%d", counts.Keys-left.Keys, counts.Expires-left.Expires, n.Store.AverageTTL(physical)))
	}
}
