package config

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

var (
	replicaOf          = textOf("replicaof")
	masterUser         = textOf("masteruser")
	masterAuth         = textOf("masterauth")
	serveStaleData     = boolOf("replica-serve-stale-data")
	replicaPriority    = intOf("replica-priority")
	replicaAnnounced   = boolOf("replica-announced")
	replicaAnnounceIP  = textOf("replica-announce-ip")
	replicaAnnPort     = intOf("replica-announce-port")
	minReplicas        = intOf("min-replicas-to-write")
	minReplicasLag     = intOf("min-replicas-max-lag")
	replTimeout        = intOf("repl-timeout")
	replPing           = intOf("repl-ping-replica-period")
	replSyncRate       = intOf("replication-sync-bandwidth")
	slotMigrationRate  = intOf("slot-migration-max-bandwidth")
	replCompression    = textOf("replication-compression")
	replMaxHeld        = intOf("replication-max-held")
	replAcks           = intOf("replication-acks")
	replAcksTimeout    = intOf("replication-acks-timeout")
	replicaMaxStale    = intOf("replica-max-staleness")
	replicaOfDirective = field("replicaof")
)

// ReplicaOf is the primary that the node follows; ok is false if it follows none.
func (c *Config) ReplicaOf() (host string, port int, ok bool) {
	host, digits, ok := strings.Cut(replicaOf.of(c), " ")
	if ok {
		port, _ = strconv.Atoi(digits)
	}
	return host, port, ok
}

// SetReplicaOf notes what REPLICAOF has changed, for CONFIG GET and CONFIG REWRITE; an empty host means NO ONE.
func (c *Config) SetReplicaOf(host string, port int) {
	text := ""
	if host != "" {
		text = host + " " + strconv.Itoa(port)
	}
	c.values[index[replicaOfDirective]].Store(&value{text: text})
}

// MasterUser and MasterAuth are what the node authenticates with at its primary.
func (c *Config) MasterUser() string { return masterUser.of(c) }

// MasterAuth: see MasterUser.
func (c *Config) MasterAuth() string { return masterAuth.of(c) }

// ReplicaServeStaleData says whether a replica answers while it has no link to its primary.
func (c *Config) ReplicaServeStaleData() bool { return serveStaleData.of(c) }

// ReplicaPriority is what the node says of itself in INFO.
func (c *Config) ReplicaPriority() int { return int(replicaPriority.of(c)) }

// ReplicaAnnounced is what the node says of itself in INFO.
func (c *Config) ReplicaAnnounced() bool { return replicaAnnounced.of(c) }

// ReplicaAddress is where clients reach the node, as it tells its primary; an empty host is where its connection comes from.
func (c *Config) ReplicaAddress() (host string, port int) {
	if port = int(replicaAnnPort.of(c)); port == 0 {
		port = c.Port()
	}
	if host = replicaAnnounceIP.of(c); strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r > '~' }) || len(host) > maxHostname {
		host = "" // Redis accepts anything
	}
	return host, port
}

// MinReplicas is how many replicas have to be there, with so little lag, that writes are taken; 0 for none.
func (c *Config) MinReplicas() (n int, maxLag time.Duration) {
	return int(minReplicas.of(c)), seconds(minReplicasLag.of(c))
}

// ReplTimeout is after how long a silent link is broken off.
func (c *Config) ReplTimeout() time.Duration { return seconds(replTimeout.of(c)) }

// ReplPingPeriod is how often a primary speaks to a replica at least.
func (c *Config) ReplPingPeriod() time.Duration { return seconds(replPing.of(c)) }

// ReplSyncBandwidth bounds a full sync, in bytes a second; 0 for no bound.
func (c *Config) ReplSyncBandwidth() int64 { return replSyncRate.of(c) }

// SlotMigrationMaxBandwidth bounds what moving slots sends, in bytes a second; 0 for no bound.
func (c *Config) SlotMigrationMaxBandwidth() int64 { return slotMigrationRate.of(c) }

// ReplCompression is "auto", "yes" or "no".
func (c *Config) ReplCompression() string { return replCompression.of(c) }

// ReplMaxHeld bounds the log that is kept for a replica that is behind, in bytes; 0 for no bound.
func (c *Config) ReplMaxHeld() int64 { return replMaxHeld.of(c) }

// ReplicationAcks is how many replicas must have a write before it is answered; 0 for none.
func (c *Config) ReplicationAcks() int { return int(replAcks.of(c)) }

// ReplicationAcksTimeout is how long a reply waits for them.
func (c *Config) ReplicationAcksTimeout() time.Duration {
	return time.Duration(replAcksTimeout.of(c)) * time.Millisecond
}

// ReplicaMaxStaleness is how old the data may be that a replica serves; 0 for no bound.
func (c *Config) ReplicaMaxStaleness() time.Duration {
	return time.Duration(replicaMaxStale.of(c)) * time.Millisecond
}

func parseReplicaOf(args []string, _ value) (value, error) {
	if len(args) == 1 && args[0] == "" || len(args) == 2 && strings.EqualFold(args[0], "no") && strings.EqualFold(args[1], "one") {
		return value{}, nil
	}
	if len(args) != 2 {
		return value{}, errArgs
	}
	host, port := args[0], args[1]
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return value{}, message("Invalid master port")
	}
	if host == "" || strings.ContainsAny(host, " \x00") {
		return value{}, errors.New("not the name or address of a host")
	}
	return value{text: host + " " + port}, nil
}
