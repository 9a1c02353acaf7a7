package cluster

// A node's data can be lost while its nodes.conf stays, when that lies elsewhere or only the store was deleted. Such a node knows its place, and has nothing of
// what belongs there:
//
//   - A replica is no candidate before it has had its primary's data again.
//   - A primary holds no lease while its shard has other members, and has the group grant its place to one that has data. An empty primary that served
//     would be followed by its replicas, which would lose theirs, too; nor does it send them its log. Where all others are lost as well, CLUSTER FAILOVER TAKEOVER begins with nothing.
//   - A shard without replicas begins with nothing: what it had is nowhere else.
//
// nodes.conf keeps that the data are lost until there are some again. A node whose nodes.conf is lost is a new one, with an ID of its own: it takes part once
// it is met, and is a candidate when it has been told whom to replicate, and has that one's data.

// beginLost notes at the start that a store that nodes.conf knows of is gone. A node alone has nobody to ask.
func (c *Cluster) beginLost(t *table, was *saved) {
	if was == nil || len(was.records) < 2 || !was.lost && (!c.o.Fresh || was.follows == 0) {
		return
	}
	t.follows, t.me().Lost = 0, true
	t.touch()
	c.log.Warn("cluster: the data of this node are gone, it serves nothing of its shard's as long as a replica may have them")
}

// Lost says whether this node's data are gone: no replica may take what it has instead for its own.
func (c *Cluster) Lost() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.table.me().Lost
}

// regained notes that this node has data again, or leads without. The caller holds mu.
func (c *Cluster) regained() {
	me := c.mu.table.me()
	if !me.Lost {
		return
	}
	me.Lost = false
	c.mu.table.touch()
	if g := c.group.Load(); g != nil {
		g.Lose(false)
	}
}
