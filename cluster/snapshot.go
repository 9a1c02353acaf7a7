package cluster

import "github.com/cairndb/cairn/cluster/slotmap"

// view makes the routing snapshot.
func (t *table) view() *View {
	v := &View{
		enabled: true, up: t.up.ok, readsWhenDown: t.set.AllowReadsWhenDown && !t.twins.lost,
		assigned: t.owners.Assigned(), currentEpoch: t.currentEpoch, synced: t.follows != 0,
	}
	v.nodes = t.nodes()
	index := make(map[slotmap.NodeID]uint16, len(v.nodes))
	for i, n := range v.nodes {
		index[n.ID] = uint16(i + 1)
	}
	v.selfIndex = index[t.self]
	v.self = v.nodes[v.selfIndex-1]
	last, at := slotmap.NodeID(""), uint16(0) // neighbours mostly have one owner
	for slot := range v.owner {
		if owner := t.owners.Owner(uint16(slot)); owner != last {
			last, at = owner, index[owner]
		}
		v.owner[slot] = at
	}
	v.migrating = v.resolve(t.migrating)
	v.importing = v.resolve(t.importing)
	if left := t.remains(); left.Len() > 0 {
		v.remains = left
	}
	return v
}

func (v *View) resolve(marks map[uint16]slotmap.NodeID) map[uint16]*Node {
	if len(marks) == 0 {
		return nil
	}
	out := make(map[uint16]*Node, len(marks))
	for slot, id := range marks {
		if n := v.Node(id); n != nil {
			out[slot] = n
		}
	}
	return out
}

// nodes are all known nodes, ascending by ID.
func (t *table) nodes() []*Node {
	sets := t.owners.Sets()
	out := make([]*Node, 0, len(t.peers))
	for _, id := range t.ids() {
		p := t.peers[id]
		n := &Node{
			ID: id, IP: p.IP, Hostname: p.Hostname, Port: p.Port, BusPort: p.BusPort,
			ShardID: t.shardID(p), Epoch: t.epochOf(p), Primary: t.primaryOf(id), Offset: p.Offset, Created: p.created,
			Myself: id == t.self, Fail: p.failed, Suspected: (p.suspected || p.refuses) && !p.failed, Connected: p.answers || id == t.self,
			PongReceived: p.lastAnswer, NoFailover: p.NoFailover,
		}
		if !n.Connected {
			n.PingSent = p.silentSince
		}
		if set := sets[id]; set != nil {
			n.Slots = set.Ranges()
		}
		n.Host = t.host(p)
		out = append(out, n.seal())
	}
	return out
}

// host is what clients are told to connect to (cluster-preferred-endpoint-type); empty means where they are connected now.
func (t *table) host(p *peer) string {
	switch t.set.Endpoint {
	case EndpointHostname:
		if p.Hostname == "" {
			return "?"
		}
		return p.Hostname
	case EndpointUnknown:
		return ""
	default:
		return p.IP
	}
}
