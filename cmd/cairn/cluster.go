package main

import (
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/cairndb/cairn/cluster"
	"github.com/cairndb/cairn/cluster/gossip"
	"github.com/cairndb/cairn/server/config"
)

// openCluster joins the cluster that nodes.conf knows, or none yet; nil when cluster-enabled is no. Fresh: see isFresh.
func openCluster(conf *config.Config, fresh bool, log *slog.Logger) (*cluster.Cluster, error) {
	if !conf.ClusterEnabled() {
		return nil, nil
	}
	protection, err := busTLS(conf)
	if err != nil {
		return nil, err
	}
	c, err := cluster.Start(cluster.Options{
		ConfigFile: conf.ClusterConfigFile(),
		Port:       conf.Port(), BusPort: conf.ClusterPort(),
		Bind:     conf.Bind(),
		Secret:   conf.ClusterBusSecret(),
		TLS:      protection,
		Plain:    conf.ClusterBusPlaintext(),
		GroupDir: groupDir(conf),
		Fresh:    fresh,
		Settings: clusterSettings(conf),
		Logger:   log,
	})
	if err != nil {
		return nil, listenError(fmt.Errorf("cluster: %w", err))
	}
	conf.OnChange([]string{"cluster-node-timeout", "cluster-require-full-coverage", "cluster-allow-reads-when-down",
		"cluster-announce-ip", "cluster-announce-hostname", "cluster-announce-port", "cluster-announce-bus-port",
		"cluster-preferred-endpoint-type", "cluster-replica-no-failover", "cluster-replica-validity-factor",
		"replica-priority", "repl-ping-replica-period", "replication-acks", "replication-acks-timeout", "appendfsync",
		"cluster-allow-replica-migration", "cluster-migration-barrier"}, func() error { return c.Configure(clusterSettings(conf)) })
	return c, nil
}

// groupDir is the folder of the node's part in the group of epochs.
func groupDir(conf *config.Config) string { return filepath.Join(conf.Dir(), "epochs") }

// busTLS loads the certificates of tls-cluster, again whenever they are set; nil without it.
func busTLS(conf *config.Config) (*gossip.TLS, error) {
	if !conf.TLSCluster() {
		return nil, nil
	}
	t, err := gossip.LoadTLS(tlsFiles(conf))
	if err != nil {
		return nil, fmt.Errorf("tls-cluster: %w", err)
	}
	conf.OnChange([]string{"tls-cert-file", "tls-key-file", "tls-client-cert-file", "tls-client-key-file", "tls-ca-cert-file",
		"tls-ca-cert-dir"}, func() error {
		if err := t.Reload(tlsFiles(conf)); err != nil {
			return fmt.Errorf("unable to update the TLS configuration: %w", err)
		}
		return nil
	})
	return t, nil
}

func tlsFiles(conf *config.Config) gossip.TLSFiles {
	return gossip.TLSFiles{
		Cert: conf.TLSCertFile(), Key: conf.TLSKeyFile(),
		ClientCert: conf.TLSClientCertFile(), ClientKey: conf.TLSClientKeyFile(),
		CACert: conf.TLSCACertFile(), CADir: conf.TLSCACertDir(),
	}
}

func clusterSettings(conf *config.Config) cluster.Settings {
	return cluster.Settings{
		NodeTimeout:         conf.ClusterNodeTimeout(),
		RequireFullCoverage: conf.ClusterRequireFullCoverage(),
		AllowReadsWhenDown:  conf.ClusterAllowReadsWhenDown(),
		AnnounceIP:          conf.ClusterAnnounceIP(),
		AnnounceHostname:    conf.ClusterAnnounceHostname(),
		AnnouncePort:        conf.ClusterAnnouncePort(),
		AnnounceBusPort:     conf.ClusterAnnounceBusPort(),
		ReplicaPriority:     uint64(conf.ReplicaPriority()),
		PingPeriod:          conf.ReplPingPeriod(),
		ReplicaMigration:    conf.ClusterAllowReplicaMigration(),
		MigrationBarrier:    conf.ClusterMigrationBarrier(),
		ReplicationAcks:     conf.ReplicationAcks(),
		AcksTimeout:         conf.ReplicationAcksTimeout(),
		SyncsAlways:         conf.AppendFsync() == "always",
		ReplicaNoFailover:   conf.ClusterReplicaNoFailover() || conf.ReplicaPriority() == 0,
		ValidityFactor:      conf.ClusterReplicaValidityFactor(),
		Endpoint:            endpointTypes[conf.ClusterPreferredEndpointType()],
	}
}

var endpointTypes = map[string]cluster.EndpointType{
	"ip":               cluster.EndpointIP,
	"hostname":         cluster.EndpointHostname,
	"unknown-endpoint": cluster.EndpointUnknown,
}
