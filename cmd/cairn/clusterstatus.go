package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

type clusterStatusCmd struct {
	Addr     []string      `arg:"" optional:"" help:"Nodes of the cluster (host:port): the first that answers tells of the others."`
	Host     string        `default:"127.0.0.1" help:"The node to ask, where no host:port is given."`
	Port     int           `default:"7000" help:"Its port."`
	Password string        `env:"CAIRN_PASSWORD,REDISCLI_AUTH" help:"Send AUTH with it to every node."`
	Timeout  time.Duration `default:"2s" help:"How long a node may take to answer."`
	JSON     bool          `name:"json" help:"Print JSON."`
}

// Help is shown by "cairn cluster status --help".
func (clusterStatusCmd) Help() string {
	return `All nodes are asked at the same time; one that does not answer is shown as unreachable. Exit codes: 0 healthy, 1 degraded (the
warnings say why), 2 unusable, or nothing could be found out.

  cairn cluster status
  cairn cluster status 10.0.0.1:7000 10.0.0.2:7000 --json`
}

func (c *clusterStatusCmd) Run(out *output) error {
	seeds, err := c.seeds()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	report, err := c.report(ctx, seeds)
	if err != nil {
		return exitError{exitUnusable, err}
	}
	if c.JSON {
		encoder := json.NewEncoder(out.stdout)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(report)
	} else {
		_, err = fmt.Fprint(out.stdout, report.text())
	}
	if err != nil {
		return exitError{exitUnusable, err}
	}
	return report.exit()
}

// report asks the cluster, and again for a little while as long as nodes differ, which they do for moments whenever anything changes.
func (c *clusterStatusCmd) report(ctx context.Context, seeds []string) (*statusReport, error) {
	const (
		again = 3
		pause = 300 * time.Millisecond
	)
	asker := statusAsker{password: c.Password, timeout: c.Timeout}
	answers, err := asker.cluster(ctx, seeds)
	if err != nil {
		return nil, err
	}
	report := assess(answers)
	for i := 0; i < again && len(report.doubts) > 0; i++ {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if answers, err = asker.cluster(ctx, seeds); err != nil {
			return nil, err
		}
		next := assess(answers)
		next.confirm(report)
		report = next
	}
	return report, nil
}

// Exit codes of cairn cluster status beside exitOK.
const (
	exitDegraded = 1
	exitUnusable = 2
)

// exit turns the verdict into the exit code.
func (r *statusReport) exit() error {
	switch r.Health {
	case healthy:
		return nil
	case degraded:
		return exitError{exitDegraded, errors.New("the cluster is degraded")}
	default:
		return exitError{exitUnusable, errors.New("the cluster is unusable")}
	}
}

// seeds are the addresses to begin with.
func (c *clusterStatusCmd) seeds() ([]string, error) {
	if c.Timeout <= 0 {
		return nil, usageError("--timeout %v: give more than 0", c.Timeout)
	}
	if len(c.Addr) == 0 {
		c.Addr = []string{net.JoinHostPort(c.Host, strconv.Itoa(c.Port))}
	}
	for _, addr := range c.Addr {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, usageError("%s: give host:port", addr)
		}
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return nil, usageError("%s: the port is a number from 1 to 65535", addr)
		}
	}
	return c.Addr, nil
}
