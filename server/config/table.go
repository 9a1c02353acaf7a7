package config

import (
	"errors"
	"fmt"
	"strings"
)

// The table: every directive of Redis 7.2 with its default there, and Cairn's own. Redis's directives that can be
// changed at run time there and not here are those without Hot (port, bind); what means nothing here is Ignored.
var table = [][]*Directive{network, general, engineOwn, persistence, clients, clusterDirectives, replication, encodings, memoryUse, tlsDirectives, rest}

var network = []*Directive{
	number("port", "6379", 0, 65535, 0),
	list("bind", "* -::*", parseBind, 0),
	text("bind-source-addr", "", Hot|Ignored),
	boolean("protected-mode", "yes", Hot),
	number("tcp-backlog", "511", 0, maxInt, 0),
	text("unixsocket", "", 0),
	{Name: "unixsocketperm", Kind: Octal, Default: "0", Max: 0o777},
	number("timeout", "0", 0, maxInt, Hot),
	number("tcp-keepalive", "300", 0, maxInt, Hot),
	number("socket-mark-id", "0", 0, 1<<32-1, Ignored),
	number("io-threads", "1", 1, 128, 0),
	boolean("io-threads-do-reads", "no", Ignored),
	number("worker-threads", "16", 1, 1024, Own),
	text("pprof-address", "", Own),
}

var general = []*Directive{
	boolean("daemonize", "no", 0).checked(refuseYes("Cairn does not put itself into the background: let a supervisor start it (systemd, runit, a container), or the shell: cairn server ... &")),
	choice("supervised", "no", "upstart systemd auto no", Ignored),
	text("pidfile", "", 0),
	choice("loglevel", "notice", "debug verbose notice warning nothing", Hot),
	text("logfile", "", 0),
	boolean("syslog-enabled", "no", 0).checked(refuseYes("Cairn does not write to syslog: leave logfile empty and let the supervisor collect standard output")),
	text("syslog-ident", "redis", Ignored),
	choice("syslog-facility", "local0", "user local0 local1 local2 local3 local4 local5 local6 local7", Ignored),
	number("databases", "16", 1, 128, 0),
	boolean("always-show-logo", "no", Ignored),
	boolean("set-proc-title", "yes", Ignored),
	text("proc-title-template", "{title} {listen-addr} {server-mode}", Hot|Ignored),
	text("locale-collate", "", Hot|Ignored),
	list("dir", ".", parseDir, Protected|Whole),
	list("hz", "10", parseHZ, Hot|Whole),
	boolean("dynamic-hz", "yes", Hot|Ignored),
	number("active-expire-effort", "1", 1, 10, Hot),
	list("shutdown-on-sigint", "default", parseShutdown, Hot|Ignored),
	list("shutdown-on-sigterm", "default", parseShutdown, Hot|Ignored),
	number("shutdown-timeout", "10", 0, maxInt, Hot),
	text("requirepass", "", Hot),
	text("aclfile", "", 0).checked(refuseSet("ACL users are not served: use requirepass")),
	choice("acl-pubsub-default", "resetchannels", "allchannels resetchannels", Hot|Ignored),
	number("acllog-max-len", "128", 0, maxLong, Hot|Ignored),
	choice("enable-protected-configs", "no", "no yes local", 0),
	choice("enable-debug-command", "no", "no yes local", 0),
	choice("enable-module-command", "no", "no yes local", Ignored),
	number("slowlog-log-slower-than", "10000", -1, maxLong, Hot),
	number("slowlog-max-len", "128", 0, maxLong, Hot),
	number("latency-monitor-threshold", "0", 0, maxLong, Hot),
	boolean("latency-tracking", "yes", Hot),
	list("latency-tracking-info-percentiles", "50 99 99.9", parsePercentiles, Hot),
	number("busy-reply-threshold", "5000", 0, maxLong, Hot|Ignored).alias("lua-time-limit"),
	list("notify-keyspace-events", "", parseNotify, Hot|Ignored|Whole),
}

var engineOwn = []*Directive{
	memory("block-cache-size", "256mb", 8<<20, maxLong, Own),
	memory("record-cache-size", "256mb", 0, maxLong, Own),
	memory("memtable-size", "16mb", 1<<20, 2<<30, Own),
	number("memtable-count", "8", 2, 64, Own),
	memory("memory-limit", "0", 0, maxLong, Own),
	number("compaction-threads", "2", 1, 64, Own),
	number("store-open-files", "1000", 64, maxInt, Own),
	choice("compression", "fastest", "none fastest balanced good", Own),
	memory("log-segment-size", "64mb", 1<<20, 4<<30, Own),
	memory("free-space-reserve", "256mb", 1, maxLong, Hot|Own),
}

var persistence = []*Directive{
	choice("appendfsync", "everysec", "everysec always no", Hot),
	// The log is always on here, so the default says so.
	boolean("appendonly", "yes", Hot|Ignored),
	text("appendfilename", "appendonly.aof", Ignored),
	text("appenddirname", "appendonlydir", Ignored),
	boolean("no-appendfsync-on-rewrite", "no", Hot|Ignored),
	number("auto-aof-rewrite-percentage", "100", 0, maxInt, Hot|Ignored),
	memory("auto-aof-rewrite-min-size", "64mb", 0, maxLong, Hot|Ignored),
	boolean("aof-load-truncated", "yes", Hot|Ignored),
	boolean("aof-use-rdb-preamble", "yes", Hot|Ignored),
	boolean("aof-timestamp-enabled", "no", Hot|Ignored),
	boolean("aof-rewrite-incremental-fsync", "yes", Hot|Ignored),
	boolean("aof-disable-auto-gc", "no", Hot|Ignored),
	list("save", "3600 1 300 100 60 10000", parseSave, Hot|Ignored),
	boolean("stop-writes-on-bgsave-error", "yes", Hot|Ignored),
	boolean("rdbcompression", "yes", Hot|Ignored),
	boolean("rdbchecksum", "yes", Ignored),
	boolean("rdb-save-incremental-fsync", "yes", Hot|Ignored),
	boolean("rdb-del-sync-files", "no", Hot|Ignored),
	text("dbfilename", "dump.rdb", Hot|Ignored|Protected).checked(plainName("dbfilename can't be a path, just a filename")),
	choice("sanitize-dump-payload", "no", "no yes clients", Hot|Ignored),
}

var clients = []*Directive{
	number("maxclients", "10000", 1, 1<<32-1, Hot),
	memory("client-query-buffer-limit", "1gb", 1<<20, maxLong, Hot),
	memory("proto-max-bulk-len", "512mb", 1<<20, maxLong, Hot),
	list("client-output-buffer-limit", "normal 0 0 0 slave 256mb 64mb 60 pubsub 32mb 8mb 60", parseOutputLimits, Hot),
	memory("maxmemory-clients", "0", -100, maxLong, Hot|Ignored|Percent),
	number("tracking-table-max-keys", "1000000", 0, maxLong, Hot|Ignored),
}

var clusterDirectives = []*Directive{
	boolean("cluster-enabled", "no", 0),
	text("cluster-config-file", "nodes.conf", 0),
	number("cluster-node-timeout", "15000", 0, maxLong, Hot),
	number("cluster-port", "0", 0, 65535, 0),
	text("cluster-announce-ip", "", Hot),
	number("cluster-announce-port", "0", 0, 65535, Hot),
	number("cluster-announce-bus-port", "0", 0, 65535, Hot),
	number("cluster-announce-tls-port", "0", 0, 65535, Hot|Ignored),
	text("cluster-announce-hostname", "", Hot).checked(hostname),
	text("cluster-announce-human-nodename", "", Hot).checked(nodename),
	choice("cluster-preferred-endpoint-type", "ip", "ip hostname unknown-endpoint", Hot),
	boolean("cluster-require-full-coverage", "yes", Hot),
	boolean("cluster-allow-reads-when-down", "no", Hot),
	boolean("cluster-allow-pubsubshard-when-down", "yes", Hot|Ignored),
	boolean("cluster-allow-replica-migration", "yes", Hot),
	number("cluster-migration-barrier", "1", 0, maxInt, Hot),
	boolean("cluster-replica-no-failover", "no", Hot).alias("cluster-slave-no-failover"),
	number("cluster-replica-validity-factor", "10", 0, maxInt, Hot).alias("cluster-slave-validity-factor"),
	memory("cluster-link-sendbuf-limit", "0", 0, maxLong, Hot|Ignored),
	text("cluster-bus-secret", "", Own),
	boolean("cluster-bus-plaintext", "no", Own),
}

var replication = []*Directive{
	list("replicaof", "", parseReplicaOf, 0).alias("slaveof"),
	text("masteruser", "", Hot),
	text("masterauth", "", Hot),
	boolean("replica-serve-stale-data", "yes", Hot).alias("slave-serve-stale-data"),
	boolean("replica-read-only", "yes", Hot).alias("slave-read-only").checked(func(v value) error {
		if v.num == 0 {
			return errors.New("a replica's log is its primary's, so it takes no writes of its own: leave replica-read-only at yes")
		}
		return nil
	}),
	boolean("replica-lazy-flush", "no", Hot|Ignored).alias("slave-lazy-flush"),
	boolean("replica-ignore-maxmemory", "yes", Hot|Ignored).alias("slave-ignore-maxmemory"),
	boolean("replica-ignore-disk-write-errors", "no", Hot|Ignored),
	boolean("replica-announced", "yes", Hot),
	text("replica-announce-ip", "", Hot).alias("slave-announce-ip"),
	number("replica-announce-port", "0", 0, 65535, Hot).alias("slave-announce-port"),
	number("replica-priority", "100", 0, maxInt, Hot).alias("slave-priority"),
	number("min-replicas-to-write", "0", 0, maxInt, Hot).alias("min-slaves-to-write"),
	number("min-replicas-max-lag", "10", 0, maxInt, Hot).alias("min-slaves-max-lag"),
	memory("repl-backlog-size", "1mb", 1, maxLong, Hot),
	number("repl-backlog-ttl", "3600", 0, maxLong, Hot|Ignored),
	number("repl-timeout", "60", 1, maxInt, Hot),
	number("repl-ping-replica-period", "10", 1, maxInt, Hot).alias("repl-ping-slave-period"),
	boolean("repl-disable-tcp-nodelay", "no", Hot|Ignored),
	boolean("repl-diskless-sync", "yes", Hot|Ignored),
	number("repl-diskless-sync-delay", "5", 0, maxInt, Hot|Ignored),
	number("repl-diskless-sync-max-replicas", "0", 0, maxInt, Hot|Ignored),
	choice("repl-diskless-load", "disabled", "disabled on-empty-db swapdb", Hot|Ignored),
	number("replication-acks", "0", 0, 64, Hot|Own),
	number("replication-acks-timeout", "1000", 1, maxInt, Hot|Own),
	number("replica-max-staleness", "0", 0, maxInt, Hot|Own),
	memory("replication-sync-bandwidth", "0", 0, maxLong, Hot|Own),
	memory("slot-migration-max-bandwidth", "0", 0, maxLong, Hot|Own),
	choice("replication-compression", "auto", "auto yes no", Hot|Own),
	memory("replication-max-held", "16gb", 0, maxLong, Hot|Own),
	choice("propagation-error-behavior", "ignore", "ignore panic panic-on-replicas", Hot|Ignored),
}

var encodings = []*Directive{
	number("hash-max-listpack-entries", "512", 0, maxLong, Hot).alias("hash-max-ziplist-entries"),
	memory("hash-max-listpack-value", "64", 0, maxLong, Hot).alias("hash-max-ziplist-value"),
	number("list-max-listpack-size", "-2", -1<<31, maxInt, Hot).alias("list-max-ziplist-size"),
	number("list-compress-depth", "0", 0, maxInt, Hot|Ignored),
	number("set-max-intset-entries", "512", 0, maxLong, Hot),
	number("set-max-listpack-entries", "128", 0, maxLong, Hot),
	memory("set-max-listpack-value", "64", 0, maxLong, Hot),
	number("zset-max-listpack-entries", "128", 0, maxLong, Hot).alias("zset-max-ziplist-entries"),
	memory("zset-max-listpack-value", "64", 0, maxLong, Hot).alias("zset-max-ziplist-value"),
	memory("hll-sparse-max-bytes", "3000", 0, maxLong, Hot),
	memory("stream-node-max-bytes", "4096", 0, maxLong, Hot),
	number("stream-node-max-entries", "100", 0, maxLong, Hot),
	memory("packed-max-bytes", "2kb", 0, 32<<10, Hot|Own),
}

// memoryUse is how Redis keeps its data set in memory; Cairn's lies on disk.
var memoryUse = []*Directive{
	memory("maxmemory", "0", 0, maxLong, Hot|Ignored),
	choice("maxmemory-policy", "noeviction", "volatile-lru volatile-lfu volatile-random volatile-ttl allkeys-lru allkeys-lfu allkeys-random noeviction", Hot|Ignored),
	number("maxmemory-samples", "5", 1, maxInt, Hot|Ignored),
	number("maxmemory-eviction-tenacity", "10", 0, 100, Hot|Ignored),
	number("lfu-log-factor", "10", 0, maxInt, Hot|Ignored),
	number("lfu-decay-time", "1", 0, maxInt, Hot|Ignored),
	boolean("lazyfree-lazy-eviction", "no", Hot|Ignored),
	boolean("lazyfree-lazy-expire", "no", Hot|Ignored),
	boolean("lazyfree-lazy-server-del", "no", Hot|Ignored),
	boolean("lazyfree-lazy-user-del", "no", Hot|Ignored),
	boolean("lazyfree-lazy-user-flush", "no", Hot|Ignored),
	boolean("activedefrag", "no", Hot|Ignored),
	memory("active-defrag-ignore-bytes", "100mb", 1, maxLong, Hot|Ignored),
	number("active-defrag-threshold-lower", "10", 0, 1000, Hot|Ignored),
	number("active-defrag-threshold-upper", "100", 0, 1000, Hot|Ignored),
	number("active-defrag-cycle-min", "1", 1, 99, Hot|Ignored),
	number("active-defrag-cycle-max", "25", 1, 99, Hot|Ignored),
	number("active-defrag-max-scan-fields", "1000", 1, maxLong, Hot|Ignored),
	boolean("activerehashing", "yes", Hot|Ignored),
	boolean("jemalloc-bg-thread", "yes", Hot|Ignored),
}

const plainKey = "encrypted keys are not read: decrypt the key (openssl pkey -in KEY -out PLAIN) and protect the file by its permissions"

// tlsDirectives protect the cluster bus, where both sides always show certificates: tls-auth-clients is about client ports.
var tlsDirectives = []*Directive{
	number("tls-port", "0", 0, 65535, 0).checked(func(v value) error {
		if v.num != 0 {
			return errors.New("TLS is not served to clients: put a TLS proxy before the node, or leave tls-port out")
		}
		return nil
	}),
	boolean("tls-cluster", "no", 0),
	boolean("tls-replication", "no", Hot).checked(refuseYes("replication is not encrypted: connect the nodes through a tunnel (WireGuard, stunnel), or leave tls-replication out")),
	choice("tls-auth-clients", "yes", "no yes optional", Hot|Ignored),
	text("tls-cert-file", "", Hot|Volatile),
	text("tls-key-file", "", Hot|Volatile),
	text("tls-key-file-pass", "", Hot).checked(refuseSet(plainKey)),
	text("tls-client-cert-file", "", Hot|Volatile),
	text("tls-client-key-file", "", Hot|Volatile),
	text("tls-client-key-file-pass", "", Hot).checked(refuseSet(plainKey)),
	text("tls-dh-params-file", "", Hot|Ignored),
	text("tls-ca-cert-file", "", Hot|Volatile),
	text("tls-ca-cert-dir", "", Hot|Volatile),
	text("tls-protocols", "", Hot|Ignored),
	text("tls-ciphers", "", Hot|Ignored),
	text("tls-ciphersuites", "", Hot|Ignored),
	boolean("tls-prefer-server-ciphers", "no", Hot|Ignored),
	boolean("tls-session-caching", "yes", Hot|Ignored),
	number("tls-session-cache-size", "20480", 0, maxInt, Hot|Ignored),
	number("tls-session-cache-timeout", "300", 0, maxInt, Hot|Ignored),
}

var rest = []*Directive{
	boolean("crash-log-enabled", "yes", Hot|Ignored),
	boolean("crash-memcheck-enabled", "yes", Hot|Ignored),
	boolean("disable-thp", "yes", Ignored),
	choice("oom-score-adj", "no", "no yes relative absolute", Hot|Ignored),
	list("oom-score-adj-values", "0 200 800", parseOOMValues, Hot|Ignored),
	text("ignore-warnings", "", Hot|Ignored),
	text("server_cpulist", "", Ignored),
	text("bio_cpulist", "", Ignored),
	text("aof_rewrite_cpulist", "", Ignored),
	text("bgsave_cpulist", "", Ignored),
}

// lineOnly are directives that stand in files only: CONFIG GET does not know them. The function
// refuses what would otherwise be silently lost.
var lineOnly = map[string]func(args []string) error{
	"loadmodule": func([]string) error { return errors.New("modules cannot be loaded: remove the line") },
	"rename-command": func([]string) error {
		return errors.New("commands cannot be renamed: remove the line, and restrict access with requirepass and bind")
	},
	"user": refuseUser,
}

// refuseUser lets pass the unrestricted default user, which Redis's CONFIG REWRITE always writes.
func refuseUser(args []string) error {
	all := map[string]bool{"on": true, "nopass": true, "sanitize-payload": true, "skip-sanitize-payload": true, "~*": true, "allkeys": true, "&*": true, "allchannels": true, "+@all": true, "allcommands": true}
	for i, a := range args {
		hash := strings.HasPrefix(a, "#")
		if (i == 0 && a != "default") || (i > 0 && !hash && !all[strings.ToLower(a)]) {
			return errors.New("ACL users are not served: use requirepass")
		}
	}
	return nil
}

func refuseYes(advice string) func(value) error {
	return func(v value) error {
		if v.num == 1 {
			return errors.New(advice)
		}
		return nil
	}
}

func refuseSet(advice string) func(value) error {
	return func(v value) error {
		if v.text != "" {
			return errors.New(advice)
		}
		return nil
	}
}

func plainName(msg string) func(value) error {
	return func(v value) error {
		if strings.ContainsRune(v.text, '/') || v.text == "" {
			return errors.New(msg)
		}
		return nil
	}
}

const maxHostname = 255

func hostname(v value) error {
	if len(v.text) > maxHostname {
		return message(fmt.Sprintf("Hostnames must be less than %d characters", maxHostname+1))
	}
	if strings.Trim(v.text, hostChars) != "" {
		return message("Hostnames may only contain alphanumeric characters, hyphens or dots")
	}
	return nil
}

const hostChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-."

func nodename(v value) error {
	if len(v.text) > maxHostname {
		return message(fmt.Sprintf("Announced human node name must be less than %d characters", maxHostname+1))
	}
	for _, c := range []byte(v.text) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("!\"#$%&'()*+/:;<>?@[]{|}~,\\=`^", c) >= 0 {
			return message("Announced human node name contained invalid character")
		}
	}
	return nil
}

// byName finds a directive by its name or alias.
var byName = func() map[string]*Directive {
	m := map[string]*Directive{}
	for _, d := range all {
		m[d.Name] = d
		if d.Alias != "" {
			m[d.Alias] = d
		}
	}
	return m
}()

// all is the table flattened; a directive's place in it is its index in Config.values.
var all, index = func() (flat []*Directive, index map[*Directive]int) {
	index = map[*Directive]int{}
	for _, group := range table {
		for _, d := range group {
			index[d] = len(flat)
			flat = append(flat, d)
		}
	}
	return
}()

// Directives returns the rows of the table, for documentation and tests.
func Directives() []Directive {
	out := make([]Directive, len(all))
	for i, d := range all {
		out[i] = *d
	}
	return out
}
