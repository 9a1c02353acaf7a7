package main

import (
	"fmt"
	"log/slog"

	"github.com/cairndb/cairn/cluster"
	"github.com/cairndb/cairn/server/config"
)

// openCluster joins the cluster that nodes.conf knows, or none yet; nil when cluster-enabled is no.
func openCluster(conf *config.Config, log *slog.Logger) (*cluster.Cluster, error) {
	if !conf.ClusterEnabled() {
		return nil, nil
	}
	c, err := cluster.Start(cluster.Options{
		ConfigFile: conf.ClusterConfigFile(),
		Port:       conf.Port(), BusPort: conf.ClusterPort(),
		Bind:     conf.Bind(),
		Secret:   conf.ClusterBusSecret(),
		Plain:    conf.ClusterBusPlaintext(),
		Settings: clusterSettings(conf),
		Logger:   log,
	})
	if err != nil {
		return nil, listenError(fmt.Errorf("cluster: %w", err))
	}
	conf.OnChange([]string{"cluster-node-timeout", "cluster-require-full-coverage", "cluster-allow-reads-when-down",
		"cluster-announce-ip", "cluster-announce-hostname", "cluster-announce-port", "cluster-announce-bus-port",
		"cluster-preferred-endpoint-type"}, func() error { return c.Configure(clusterSettings(conf)) })
	return c, nil
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
		Endpoint:            endpointTypes[conf.ClusterPreferredEndpointType()],
	}
}

var endpointTypes = map[string]cluster.EndpointType{
	"ip":               cluster.EndpointIP,
	"hostname":         cluster.EndpointHostname,
	"unknown-endpoint": cluster.EndpointUnknown,
}
