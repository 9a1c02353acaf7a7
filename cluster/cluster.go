// Package cluster decides who serves which slot: it keeps the node table and
// nodes.conf, hears and tells the gossip, detects failures.
package cluster

import "sync/atomic"

// Cluster is a running member.
type Cluster struct {
	view atomic.Pointer[View]
}

// View returns the current snapshot: one atomic load.
func (c *Cluster) View() *View { return c.view.Load() }
