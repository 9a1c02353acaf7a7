package cluster

import (
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairndb/cairn/cluster/gossip"
)

// Options configure a member. Zero values mean what the directive's default means, unless a comment says otherwise.
type Options struct {
	// ConfigFile is the path of nodes.conf (cluster-config-file).
	ConfigFile string
	// FS is the file system of ConfigFile; nil for the operating system's.
	FS vfs.FS
	// Port is where clients connect. BusPort is cluster-port: 0 for Port + 10000, AnyPort for any free port.
	Port, BusPort int
	// Bind is the bind directive; the bus listens on the same addresses.
	Bind []string
	// Secret is cluster-bus-secret, TLS is tls-cluster. Plain (cluster-bus-plaintext) allows a bus beyond loopback that nothing protects.
	Secret string
	// GroupDir is the folder of the group of epochs, which must not be copied to another node; without it the node has no part in one.
	GroupDir string
	TLS      *gossip.TLS
	Plain    bool
	// Settings are those that can change later: see Cluster.Configure.
	Settings Settings
	// Fresh: the node's store was created by this start. A nodes.conf that knows of data means that these are lost.
	Fresh bool
	// Boot names the time between two starts of the machine; empty for what the system says.
	Boot string
	// Network is what the bus speaks over; nil for the operating system's.
	Network gossip.Network
	Logger  *slog.Logger
}

// AnyPort lets the operating system choose the bus's port.
const AnyPort = -1

// Settings can change while the node runs.
type Settings struct {
	// NodeTimeout is cluster-node-timeout; 0 means 15 s.
	NodeTimeout time.Duration
	// RequireFullCoverage is cluster-require-full-coverage (Redis's default is yes).
	RequireFullCoverage bool
	// AllowReadsWhenDown is cluster-allow-reads-when-down.
	AllowReadsWhenDown bool
	// ReplicaNoFailover is cluster-replica-no-failover, ValidityFactor cluster-replica-validity-factor, ReplicaPriority
	// replica-priority, PingPeriod repl-ping-replica-period.
	ReplicaNoFailover bool
	ValidityFactor    int
	ReplicaPriority   uint64
	PingPeriod        time.Duration
	// ReplicationAcks and AcksTimeout are replication-acks and -timeout. SyncsAlways: appendfsync is always, so a node that loses power has all that it acknowledged.
	ReplicationAcks int
	AcksTimeout     time.Duration
	SyncsAlways     bool
	// ReplicaMigration is cluster-allow-replica-migration, MigrationBarrier cluster-migration-barrier.
	ReplicaMigration bool
	MigrationBarrier int
	// AnnounceIP, AnnounceHostname, AnnouncePort and AnnounceBusPort are cluster-announce-*; empty or 0 for what the node finds.
	AnnounceIP, AnnounceHostname  string
	AnnouncePort, AnnounceBusPort int
	// Endpoint is cluster-preferred-endpoint-type.
	Endpoint EndpointType
}

const defaultNodeTimeout = 15 * time.Second

// EndpointType says which of a node's names clients are told.
type EndpointType uint8

// The values of cluster-preferred-endpoint-type.
const (
	EndpointIP EndpointType = iota
	EndpointHostname
	EndpointUnknown
)
