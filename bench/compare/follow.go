package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairndb/cairn/tools/testnode"
)

// follow makes a node a replica of another one.
func follow(primary, replica *testnode.Node) error {
	v, err := replica.Do("REPLICAOF", primary.Host(), strconv.Itoa(primary.Port))
	if err == nil {
		err = v.Err()
	}
	return err
}

// awaitReplica waits until the replica has, and has applied, all that the primary has now.
func awaitReplica(ctx context.Context, primary, replica *testnode.Node) error {
	goal, err := infoNumber(primary, "replication", "master_repl_offset")
	if err != nil {
		return err
	}
	return await(ctx, replica, func() (bool, error) {
		f, err := replica.Info("replication")
		if err != nil {
			return false, nil // it may be replacing its data
		}
		at, err := strconv.ParseInt(f["slave_repl_offset"], 10, 64)
		return err == nil && at >= goal && f["master_link_status"] == "up", nil
	})
}

// await asks ok again and again until it is true, fails, the node has ended, or ctx ends.
func await(ctx context.Context, n *testnode.Node, ok func() (bool, error)) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if done, err := ok(); done || err != nil {
			return err
		}
		if !n.Running() {
			return fmt.Errorf("port %d: %w\n%s", n.Port, testnode.ErrExited, n.LogTail(2000))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("port %d: %w\n%s", n.Port, ctx.Err(), n.LogTail(2000))
		case <-tick.C:
		}
	}
}

// infoNumber is one number of INFO.
func infoNumber(n *testnode.Node, section, field string) (int64, error) {
	f, err := n.Info(section)
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseInt(f[field], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("INFO %s of port %d: %s: %w", section, n.Port, field, err)
	}
	return v, nil
}

// syncs is how many replicas a primary has given everything, and how many could go on.
func syncs(primary *testnode.Node) (full, partial int64, err error) {
	if full, err = infoNumber(primary, "stats", "sync_full"); err != nil {
		return 0, 0, err
	}
	partial, err = infoNumber(primary, "stats", "sync_partial_ok")
	return full, partial, err
}

// startTwo starts two nodes of cairn that are going to be a primary and its replica.
func startTwo(o options, binary string, args ...string) (nodes []*testnode.Node, err error) {
	args = append([]string{"--appendfsync", "everysec", "--block-cache-size", o.blockCache}, args...)
	for _, folder := range []string{"primary", "replica"} {
		n, err := o.cairn(binary, folder, nil, args...)
		if err != nil {
			return nodes, err
		}
		nodes = append(nodes, n)
		if err := n.Start(); err != nil {
			return nodes, err
		}
	}
	return nodes, nil
}

// checkRoom refuses a run that would fill the disk.
func checkRoom(dir string, need int64) error {
	u, err := vfs.Default.GetDiskUsage(dir)
	if err == nil && u.AvailBytes < uint64(need) {
		err = fmt.Errorf("%s has room for %d MiB, the run needs %d", dir, u.AvailBytes>>20, need>>20)
	}
	return err
}
