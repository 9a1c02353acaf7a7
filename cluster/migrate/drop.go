package migrate

import (
	"context"

	"github.com/cairndb/cairn/cluster/slotmap"
	"github.com/cairndb/cairn/engine"
)

// What a shard has of slots that it has handed over is dropped by its primary: by the one that has handed them over, or, if that one did not come to it, by
// whoever has taken its place (sweep). Nothing is dropped but what the group says was handed over (Cluster.Remains): other data of slots that another shard owns may be the
// only copy. The group is told when the replicas have the drop in their log, and not before: else a replica that takes over without it would keep the data for good.

// drop removes the data of slots that have been moved away, and the note about them.
func (m *Manager) drop(set *slotmap.Set) {
	m.update(func() { union(&m.mu.dropping, set) })
	m.wg.Go(func() {
		defer m.update(func() { minus(&m.mu.dropping, set) })
		term, cancel := m.term()
		defer cancel()
		if pause(term, dropDelay) == nil {
			m.dropNow(term, set)
		}
		if m.ctx.Err() != nil {
			return // the note is still there
		}
		if err := m.note(set, false); err != nil {
			m.log.Warn("slot migration: the note about slots that have moved away stays", "err", err)
		}
	})
}

// dropNow drops what is old of the set, and returns when the group knows that, or this node's term has ended: then its successor does it again.
func (m *Manager) dropNow(term context.Context, set *slotmap.Set) {
	for _, group := range split(set, groupSlots) {
		gone, end, err := m.dropGroup(term, group)
		if err != nil {
			m.log.Warn("slot migration: the data of slots that have moved away stays", "slots", rangesText(group), "err", err)
			return
		}
		if gone.Len() > 0 {
			m.tellDropped(term, gone, end)
		}
	}
}

// dropGroup looks whose the slots are, and drops them, while no command for them runs: should they come back in this moment, nothing new is lost.
func (m *Manager) dropGroup(term context.Context, group *slotmap.Set) (gone *slotmap.Set, end engine.Offset, err error) {
	defer m.Holds.add(group)()
	store := m.o.Store()
	passLocks(store, group)
	if gone = both(group, m.o.Cluster.Remains()); gone.Len() == 0 {
		return gone, 0, nil
	}
	if err := context.Cause(term); err != nil {
		return nil, 0, err
	}
	end, err = store.DropSlots(slotsOf(gone))
	return gone, end, err
}

// tellDropped tells the group of a drop that ends at an offset of the log.
func (m *Manager) tellDropped(term context.Context, gone *slotmap.Set, end engine.Offset) {
	reached("export:dropped")
	for {
		try, cancel := context.WithTimeout(term, linkTimeout)
		err := m.o.WaitHeld(try, end)
		if err == nil {
			err = m.o.Cluster.Dropped(try, gone)
		}
		cancel()
		if err == nil || term.Err() != nil {
			return
		}
		m.log.Warn("slot migration: the group doesn't know yet that slots that have moved away were dropped", "slots", rangesText(gone), "err", err)
		if pause(term, settlePause) != nil {
			return
		}
	}
}

// sweep drops what the primary whose place this node has taken had handed over and not dropped.
func (m *Manager) sweep() {
	left := m.o.Cluster.Remains()
	if left.Len() == 0 || !m.o.Cluster.Serving() {
		return
	}
	m.update(func() {
		for _, busy := range []*slotmap.Set{&m.mu.exporting, &m.mu.importing, &m.mu.dropping, &m.mu.leaving} {
			minus(left, busy)
		}
	})
	for _, slot := range m.o.Store().Importing() {
		left.Del(slot)
	}
	if left.Len() > 0 {
		m.notice("slot migration: slots were handed over before this node became primary; what it has of them is dropped", "slots", rangesText(left))
		m.drop(left)
	}
}
