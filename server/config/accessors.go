package config

import (
	"log/slog"
	"path/filepath"
	"time"
)

// field finds the directive behind a getter, once, at start.
func field(name string) *Directive {
	d := byName[name]
	if d == nil {
		panic("config: unknown directive " + name)
	}
	return d
}

// getters read one directive each by its index.
type (
	intField  int
	boolField int
	textField int
)

func intOf(name string) intField   { return intField(index[field(name)]) }
func boolOf(name string) boolField { return boolField(index[field(name)]) }
func intsOf(names []string) (fields []intField) {
	for _, name := range names {
		fields = append(fields, intOf(name))
	}
	return fields
}

func textOf(name string) textField { return textField(index[field(name)]) }

func (f intField) of(c *Config) int64   { return c.values[f].Load().num }
func (f boolField) of(c *Config) bool   { return c.values[f].Load().num != 0 }
func (f textField) of(c *Config) string { return c.values[f].Load().text }
func (f textField) data(c *Config) any  { return c.values[f].Load().data }

var (
	port               = intOf("port")
	bind               = textOf("bind")
	protectedMode      = boolOf("protected-mode")
	tcpBacklog         = intOf("tcp-backlog")
	unixSocket         = textOf("unixsocket")
	unixSocketPerm     = intOf("unixsocketperm")
	timeout            = intOf("timeout")
	tcpKeepAlive       = intOf("tcp-keepalive")
	ioThreads          = intOf("io-threads")
	workerThreads      = intOf("worker-threads")
	pprofAddress       = textOf("pprof-address")
	maxClients         = intOf("maxclients")
	queryBufferLimit   = intOf("client-query-buffer-limit")
	protoMaxBulk       = intOf("proto-max-bulk-len")
	outputLimits       = textOf("client-output-buffer-limit")
	requirePass        = textOf("requirepass")
	protectedConfigs   = field("enable-protected-configs")
	enableDebug        = textOf("enable-debug-command")
	pidFile            = textOf("pidfile")
	logFile            = textOf("logfile")
	logLevel           = textOf("loglevel")
	databases          = intOf("databases")
	dir                = textOf("dir")
	hz                 = intOf("hz")
	expireEffort       = intOf("active-expire-effort")
	shutdownTimeout    = intOf("shutdown-timeout")
	slowlogSlower      = intOf("slowlog-log-slower-than")
	slowlogMaxLen      = intOf("slowlog-max-len")
	latencyThreshold   = intOf("latency-monitor-threshold")
	latencyTracking    = boolOf("latency-tracking")
	latencyPercentiles = textOf("latency-tracking-info-percentiles")
	maxMemory          = intOf("maxmemory")
	maxMemoryPolicy    = textOf("maxmemory-policy")

	appendFsync       = textOf("appendfsync")
	blockCacheSize    = intOf("block-cache-size")
	recordCacheSize   = intOf("record-cache-size")
	memtableSize      = intOf("memtable-size")
	memtableCount     = intOf("memtable-count")
	storeOpenFiles    = intOf("store-open-files")
	replBacklogSize   = intOf("repl-backlog-size")
	memoryLimit       = intOf("memory-limit")
	compactionThreads = intOf("compaction-threads")
	compression       = textOf("compression")
	logSegmentSize    = intOf("log-segment-size")
	freeSpaceReserve  = intOf("free-space-reserve")
	packing           = intsOf(PackingDirectives)

	clusterEnabled      = boolOf("cluster-enabled")
	clusterConfigFile   = textOf("cluster-config-file")
	clusterNodeTimeout  = intOf("cluster-node-timeout")
	clusterPort         = intOf("cluster-port")
	announceIP          = textOf("cluster-announce-ip")
	announcePort        = intOf("cluster-announce-port")
	announceBusPort     = intOf("cluster-announce-bus-port")
	announceHostname    = textOf("cluster-announce-hostname")
	announceNodename    = textOf("cluster-announce-human-nodename")
	endpointType        = textOf("cluster-preferred-endpoint-type")
	requireFullCoverage = boolOf("cluster-require-full-coverage")
	readsWhenDown       = boolOf("cluster-allow-reads-when-down")
	noFailover          = boolOf("cluster-replica-no-failover")
	validityFactor      = intOf("cluster-replica-validity-factor")
	replicaMigration    = boolOf("cluster-allow-replica-migration")
	migrationBarrier    = intOf("cluster-migration-barrier")
	busSecret           = textOf("cluster-bus-secret")
	busPlaintext        = boolOf("cluster-bus-plaintext")

	tlsCluster        = boolOf("tls-cluster")
	tlsCertFile       = textOf("tls-cert-file")
	tlsKeyFile        = textOf("tls-key-file")
	tlsClientCertFile = textOf("tls-client-cert-file")
	tlsClientKeyFile  = textOf("tls-client-key-file")
	tlsCACertFile     = textOf("tls-ca-cert-file")
	tlsCACertDir      = textOf("tls-ca-cert-dir")
)

// Port is where clients connect by TCP; 0 for nowhere.
func (c *Config) Port() int { return int(port.of(c)) }

// Bind lists the addresses to listen on; a leading '-' marks one that may be missing on this machine, '*' is any IPv4
// address and '::*' any IPv6 address. Empty: no TCP.
func (c *Config) Bind() []string { return bind.data(c).([]string) }

// ProtectedMode refuses remote clients while there is no password and no bind address.
func (c *Config) ProtectedMode() bool { return protectedMode.of(c) }

// TCPBacklog is the argument of listen(2).
func (c *Config) TCPBacklog() int { return int(tcpBacklog.of(c)) }

// UnixSocket is the path of the socket, "" for none.
func (c *Config) UnixSocket() string { return c.inDir(unixSocket.of(c)) }

// UnixSocketPerm is the socket's mode, 0 to leave it.
func (c *Config) UnixSocketPerm() uint32 { return uint32(unixSocketPerm.of(c)) }

// Timeout closes a client that was idle for so long; 0 for never.
func (c *Config) Timeout() time.Duration { return seconds(timeout.of(c)) }

// TCPKeepAlive is the time between probes; 0 for none.
func (c *Config) TCPKeepAlive() time.Duration { return seconds(tcpKeepAlive.of(c)) }

// IOThreads is the number of event loops.
func (c *Config) IOThreads() int { return int(ioThreads.of(c)) }

// PprofAddress is where Go's profiles are served by HTTP; empty for nowhere.
func (c *Config) PprofAddress() string { return pprofAddress.of(c) }

// WorkerThreads bounds the goroutines that run slow commands.
func (c *Config) WorkerThreads() int { return int(workerThreads.of(c)) }

// MaxClients bounds the connections.
func (c *Config) MaxClients() int { return int(maxClients.of(c)) }

// ClientQueryBufferLimit bounds the bytes of one incomplete request.
func (c *Config) ClientQueryBufferLimit() int64 { return queryBufferLimit.of(c) }

// ProtoMaxBulkLen bounds one argument, and a string's length.
func (c *Config) ProtoMaxBulkLen() int64 { return protoMaxBulk.of(c) }

// ClientOutputLimit bounds the waiting replies of a client of the class.
func (c *Config) ClientOutputLimit(class int) OutputLimit {
	return outputLimits.data(c).([3]OutputLimit)[class]
}

// RequirePass is the password, "" for none.
func (c *Config) RequirePass() string { return requirePass.of(c) }

// EnableDebugCommand is "no", "yes" or "local".
func (c *Config) EnableDebugCommand() string { return enableDebug.of(c) }

// PidFile is where the process number is written, "" for nowhere.
func (c *Config) PidFile() string { return c.inDir(pidFile.of(c)) }

// LogFile is where the server's messages go, "" for standard output.
func (c *Config) LogFile() string { return c.inDir(logFile.of(c)) }

// Dir is the absolute path of the data folder.
func (c *Config) Dir() string { return dir.of(c) }

// inDir resolves a path against the data folder, which is Redis's working directory.
func (c *Config) inDir(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(c.Dir(), path)
}

// LevelNotice lies between slog's Info, which is Redis's verbose, and Warn.
const LevelNotice = slog.LevelInfo + 2

// LogLevel is loglevel in slog's terms: debug, verbose (Info), notice (LevelNotice) and warning.
func (c *Config) LogLevel() slog.Level {
	switch logLevel.of(c) {
	case "debug":
		return slog.LevelDebug
	case "verbose":
		return slog.LevelInfo
	case "notice":
		return LevelNotice
	case "warning":
		return slog.LevelWarn
	default:
		return slog.LevelError + 100
	}
}

// Databases is the number of numbered databases.
func (c *Config) Databases() int { return int(databases.of(c)) }

// HZ is how often background work runs in a second.
func (c *Config) HZ() int { return int(hz.of(c)) }

// ActiveExpireEffort is 1 to 10.
func (c *Config) ActiveExpireEffort() int { return int(expireEffort.of(c)) }

// ShutdownTimeout is how long a graceful stop may drain.
func (c *Config) ShutdownTimeout() time.Duration { return seconds(shutdownTimeout.of(c)) }

// SlowlogLogSlowerThan is the time from which a command is logged: negative for never, 0 for every command.
func (c *Config) SlowlogLogSlowerThan() time.Duration {
	return scaled(slowlogSlower.of(c), time.Microsecond)
}

// SlowlogMaxLen is the number of entries kept.
func (c *Config) SlowlogMaxLen() int { return int(min(slowlogMaxLen.of(c), 1<<30)) }

// LatencyMonitorThreshold is the time from which an event is kept; 0 for off.
func (c *Config) LatencyMonitorThreshold() time.Duration {
	return scaled(latencyThreshold.of(c), time.Millisecond)
}

// LatencyTracking keeps a histogram a command.
func (c *Config) LatencyTracking() bool { return latencyTracking.of(c) }

// LatencyPercentiles are those that INFO latencystats shows.
func (c *Config) LatencyPercentiles() []float64 { return latencyPercentiles.data(c).([]float64) }

// MaxMemory is shown by INFO; it limits nothing, since the data lies on disk.
func (c *Config) MaxMemory() int64 { return maxMemory.of(c) }

// MaxMemoryPolicy is shown by INFO.
func (c *Config) MaxMemoryPolicy() string { return maxMemoryPolicy.of(c) }

// AppendFsync is "always", "everysec" or "no".
func (c *Config) AppendFsync() string { return appendFsync.of(c) }

// BlockCacheSize is the memory for blocks of the store's files, in bytes.
func (c *Config) BlockCacheSize() int64 { return blockCacheSize.of(c) }

// RecordCacheSize is the memory for whole records, read lately or not in the store's files yet, in bytes.
func (c *Config) RecordCacheSize() int64 { return recordCacheSize.of(c) }

// MemtableSize is the size of one memtable, in bytes.
func (c *Config) MemtableSize() int64 { return memtableSize.of(c) }

// MemtableCount is how many memtables may wait to be flushed before writes have to wait.
func (c *Config) MemtableCount() int { return int(memtableCount.of(c)) }

// StoreOpenFiles bounds the files of the store that are kept open.
func (c *Config) StoreOpenFiles() int { return int(storeOpenFiles.of(c)) }

// ReplBacklogSize is how much of the log is kept although a restart does not need it, in bytes.
func (c *Config) ReplBacklogSize() int64 { return replBacklogSize.of(c) }

// MemoryLimit is the soft limit of the Go heap, in bytes; 0 derives one from the caches.
func (c *Config) MemoryLimit() int64 { return memoryLimit.of(c) }

// CompactionThreads bounds concurrent compactions.
func (c *Config) CompactionThreads() int { return int(compactionThreads.of(c)) }

// Compression is "none", "fastest", "balanced" or "good".
func (c *Config) Compression() string { return compression.of(c) }

// LogSegmentSize is the size of one file of the log, in bytes.
func (c *Config) LogSegmentSize() int64 { return logSegmentSize.of(c) }

// FreeSpaceReserve is the free space on the disk below which writes are refused, in bytes.
func (c *Config) FreeSpaceReserve() int64 { return freeSpaceReserve.of(c) }

// PackingDirectives are those that say up to which sizes collections are packed, in the order of Packing.
var PackingDirectives = []string{
	"hash-max-listpack-entries",
	"hash-max-listpack-value",
	"list-max-listpack-size",
	"set-max-intset-entries",
	"set-max-listpack-entries",
	"set-max-listpack-value",
	"zset-max-listpack-entries",
	"zset-max-listpack-value",
	"hll-sparse-max-bytes",
	"stream-node-max-bytes",
	"stream-node-max-entries",
	"packed-max-bytes",
}

// Packing returns the values of PackingDirectives.
func (c *Config) Packing() (v [12]int) {
	for i, f := range packing {
		v[i] = int(f.of(c))
	}
	return v
}

// ClusterEnabled makes the node a member of a cluster.
func (c *Config) ClusterEnabled() bool { return clusterEnabled.of(c) }

// ClusterConfigFile is the path of nodes.conf.
func (c *Config) ClusterConfigFile() string { return c.inDir(clusterConfigFile.of(c)) }

// ClusterNodeTimeout is how long a node may be unreachable before it counts as failing.
func (c *Config) ClusterNodeTimeout() time.Duration {
	return scaled(clusterNodeTimeout.of(c), time.Millisecond)
}

// busOffset is what Redis Cluster adds to the client port.
const busOffset = 10000

// ClusterPort is the bus port: cluster-port, or the client port plus 10000.
func (c *Config) ClusterPort() int {
	if p := clusterPort.of(c); p != 0 {
		return int(p)
	}
	return c.Port() + busOffset
}

// ClusterAnnounceIP, ClusterAnnouncePort and ClusterAnnounceBusPort are told to others instead of what
// the node knows about itself; empty or 0 for not.
func (c *Config) ClusterAnnounceIP() string   { return announceIP.of(c) }
func (c *Config) ClusterAnnouncePort() int    { return int(announcePort.of(c)) }
func (c *Config) ClusterAnnounceBusPort() int { return int(announceBusPort.of(c)) }

// ClusterAnnounceHostname is told beside the address; "" for none.
func (c *Config) ClusterAnnounceHostname() string { return announceHostname.of(c) }

// ClusterAnnounceHumanNodename is a name for logs.
func (c *Config) ClusterAnnounceHumanNodename() string { return announceNodename.of(c) }

// ClusterPreferredEndpointType is "ip", "hostname" or "unknown-endpoint".
func (c *Config) ClusterPreferredEndpointType() string { return endpointType.of(c) }

// ClusterRequireFullCoverage stops serving while any slot has no owner.
func (c *Config) ClusterRequireFullCoverage() bool { return requireFullCoverage.of(c) }

// ClusterAllowReadsWhenDown serves reads while the cluster is down.
func (c *Config) ClusterAllowReadsWhenDown() bool { return readsWhenDown.of(c) }

// ClusterAllowReplicaMigration lets the node, as a replica, move to a primary that has none.
func (c *Config) ClusterAllowReplicaMigration() bool { return replicaMigration.of(c) }

// ClusterMigrationBarrier is how many replicas its primary keeps at least.
func (c *Config) ClusterMigrationBarrier() int { return int(migrationBarrier.of(c)) }

// ClusterReplicaNoFailover keeps the node from becoming a primary by itself.
func (c *Config) ClusterReplicaNoFailover() bool { return noFailover.of(c) }

// ClusterReplicaValidityFactor bounds, in node timeouts, for how long a replica may have been without its primary to take its place; 0 for no bound.
func (c *Config) ClusterReplicaValidityFactor() int { return int(validityFactor.of(c)) }

// ClusterBusSecret encrypts and authenticates the bus; "" for none.
func (c *Config) ClusterBusSecret() string { return busSecret.of(c) }

// TLSCluster encrypts the bus with certificates.
func (c *Config) TLSCluster() bool { return tlsCluster.of(c) }

// TLSCertFile and TLSKeyFile are this node's certificate and its key, in PEM.
func (c *Config) TLSCertFile() string { return c.inDir(tlsCertFile.of(c)) }
func (c *Config) TLSKeyFile() string  { return c.inDir(tlsKeyFile.of(c)) }

// TLSClientCertFile and TLSClientKeyFile are shown when this node connects to another; "" for the above.
func (c *Config) TLSClientCertFile() string { return c.inDir(tlsClientCertFile.of(c)) }
func (c *Config) TLSClientKeyFile() string  { return c.inDir(tlsClientKeyFile.of(c)) }

// TLSCACertFile and TLSCACertDir hold the authorities that other nodes' certificates must come from.
func (c *Config) TLSCACertFile() string { return c.inDir(tlsCACertFile.of(c)) }
func (c *Config) TLSCACertDir() string  { return c.inDir(tlsCACertDir.of(c)) }

// ClusterBusPlaintext allows a bus without a secret or TLS on other addresses than loopback.
func (c *Config) ClusterBusPlaintext() bool { return busPlaintext.of(c) }

func seconds(n int64) time.Duration { return scaled(n, time.Second) }

// scaled is n units, or the longest time there is.
func scaled(n int64, unit time.Duration) time.Duration {
	return time.Duration(min(n, maxLong/int64(unit))) * unit
}
