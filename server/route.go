package server

import (
	"bytes"
	"context"
	"strconv"
	"strings"

	"github.com/cairndb/cairn/cluster"
	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/server/command"
	"github.com/cairndb/cairn/server/resp"
)

const moved = "MOVED "

// Routing decides under the locks of a request's slots whether this node serves it; if not, it returns the text of the
// error that says who does (Redis: getNodeByQuery). It has two parts: routeView looks at nobody's keys, and
// routeOpen at those of a slot that is on its way to or from another node. Between them come the checks whether the keys' records
// can be read without waiting, and whether MIGRATE is sending one of them. Standalone, every node serves everything.

// routeOpen routes by which keys of an open slot are here.
func (x *executor) routeOpen(view *cluster.View, c *conn, n *need) (redirect string) {
	if !open(view, n) {
		return ""
	}
	slot := n.keys[0].slot
	existing, missing := x.present(c, n.keys)
	target := view.Migrating(slot)
	switch {
	case missing == 0:
		return ""
	case target != nil && view.Owns(slot):
		if existing > 0 {
			return resp.ErrTryAgain
		}
		return "ASK " + endpoint(slot, target)
	case n.asked(c) && severalKeys(n.keys):
		return resp.ErrTryAgain
	}
	return ""
}

// open says whether the request's slot is marked by SETSLOT MIGRATING or IMPORTING on this node.
func open(view *cluster.View, n *need) bool {
	if !view.Enabled() || len(n.keys) == 0 {
		return false
	}
	slot := n.keys[0].slot
	return view.Migrating(slot) != nil || view.Importing(slot)
}

// asked says whether the client has been sent here by ASK.
func (n *need) asked(c *conn) bool { return c.Asking || n.flags&command.Asking != 0 }

// routeQueued routes a request inside MULTI, which is only queued. EXEC routes once more.
func (x *executor) routeQueued(c *conn, n *need) (redirect string, v verdict) {
	view := x.node.View()
	if redirect = x.routeView(view, c, n); redirect != "" || !open(view, n) {
		return redirect, proceed
	}
	if !x.lock(n.slots, false) {
		return "", wouldBlock
	}
	defer x.txn.EndCommand()
	if !x.ready(c, n) {
		return "", wouldBlock
	}
	return x.routeOpen(x.node.View(), c, n), proceed
}

// routeMigrate routes MIGRATE, which moves the keys of an open slot whoever owns it, and takes those away that are here. Keys that
// are left in another node's slot may go, too: this is how redis-cli --cluster fix gathers the keys of a slot that
// several nodes have, and nobody reaches them here. (Redis answers MOVED, and redis-cli gives up.) What is left of a slot that was handed over is old, and
// stays until it is dropped.
func (x *executor) routeMigrate(c *conn, n *need) (redirect string) {
	n.flags |= command.Asking
	redirect = x.routeView(x.node.View(), c, n)
	if strings.HasPrefix(redirect, moved) && x.node.KeysServed(n.keys[0].slot) > 0 {
		return ""
	}
	return redirect
}

// fence lets a primary serve inside its lease only; commands wait a moment for one that is about to begin. It also looks
// once more whether writes are held back, since that may have begun before the locks were taken.
func (x *executor) fence(c *conn, cmd *command.Command, view *cluster.View, n *need) verdict {
	if !view.Enabled() || view.Self().Primary != "" || len(n.keys) == 0 && !n.write {
		return proceed
	}
	if n.write {
		if _, wait := x.node.Clients.Paused(&c.Session, cmd); wait {
			return paused
		}
	}
	// Whether this is still the primary is asked under the locks: whoever gives that up takes them all before another one begins (Store.Freeze).
	if !x.serving || !x.node.Cluster.Leads() {
		return x.atGate(c, cmd)
	}
	c.leased = true
	return proceed
}

// atGate has a command wait until this node serves its slots, or another one does; for a while.
func (x *executor) atGate(c *conn, cmd *command.Command) verdict {
	if c.wait = x.node.Cluster.Wait(); c.wait != nil {
		return held
	}
	return x.redirect(c, cmd, resp.ErrClusterDown)
}

// moving holds a request back while it is just being decided who serves its slots (CLUSTER MIGRATESLOTS); what writes to all of them waits for
// any.
func (x *executor) moving(c *conn, cmd *command.Command, view *cluster.View, n *need) verdict {
	if !view.Enabled() || view.Self().Primary != "" || !n.world && len(n.keys) == 0 {
		return proceed
	}
	wait, waits := x.node.Held(n.slots, n.world && n.write)
	return x.holdBack(c, cmd, wait, waits)
}

// holdBack lets a request wait, if it has to: for what has no end that could be waited for, the client has to try again.
func (x *executor) holdBack(c *conn, cmd *command.Command, wait <-chan struct{}, waits bool) verdict {
	switch {
	case !waits:
		return proceed
	case wait == nil:
		return x.redirect(c, cmd, resp.ErrSlotMoving)
	}
	c.wait = wait
	return held
}

// claimed returns what a request has to wait for since MIGRATE is sending one of its keys: see command.Claims.
func (x *executor) claimed(c *conn, n *need) <-chan struct{} {
	claims := &x.node.Migrations.Claims
	if !claims.Any() {
		return nil
	}
	for i := range n.keys {
		wait := claims.On(n.keys[i].name)
		if wait == nil {
			continue
		}
		if here, _ := x.present(c, n.keys[i:i+1]); n.write || here == 0 {
			return untilReplaced(wait, x.node.Replication.Reign())
		}
	}
	return nil
}

// untilReplaced ends a wait also when the node takes no more writes: who waits is then sent on to who does, and not held until MIGRATE times out.
func untilReplaced(wait <-chan struct{}, reign context.Context) <-chan struct{} {
	if reign.Err() != nil {
		return wait
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-wait:
		case <-reign.Done():
		}
	}()
	return ended
}

// routeView is the part of routing that needs no look at the keys' records.
func (x *executor) routeView(view *cluster.View, c *conn, n *need) (redirect string) {
	if !view.Enabled() || len(n.keys) == 0 {
		return ""
	}
	slot := n.keys[0].slot
	owner := view.Owner(slot)
	if owner == nil {
		return resp.ErrSlotUnserved
	}
	for _, k := range n.keys[1:] {
		if k.slot != slot {
			return resp.ErrCrossSlot
		}
	}
	if !view.Up() {
		switch {
		case !view.ReadsWhenDown():
			return resp.ErrClusterDown
		case n.flags&command.Write != 0:
			return resp.ErrReadsOnly
		}
	}
	switch {
	case view.Owns(slot) || n.asked(c) && view.Importing(slot):
		return ""
	case c.ReadOnlyMode && n.flags&command.Write == 0 && view.Replicates(slot) && !x.node.Replication.Filling() && !x.store.IsImporting(slot):
		if text := x.node.Replication.RefuseReads(); text != resp.ErrStale { // the primary has fresh data
			return text
		}
	}
	return moved + endpoint(slot, owner)
}

// departing holds a request back while this node is giving its slot up: see cluster.Departing. It is asked before the view, which is
// a newer one when a departure has ended.
func (x *executor) departing(c *conn, cmd *command.Command, n *need) verdict {
	if x.node.Cluster == nil || len(n.keys) == 0 {
		return proceed
	}
	wait, departing := x.node.Cluster.Departing(n.keys[0].slot)
	return x.holdBack(c, cmd, wait, departing)
}

// present counts which of the keys exist here.
func (x *executor) present(c *conn, keys []keyAt) (existing, missing int) {
	db := x.store.DB(c.DB)
	for _, k := range keys {
		if _, ok, err := x.txn.Get(engine.Key{Slot: k.slot, DB: db, Name: k.name}); ok || err != nil {
			existing++ // a record that cannot be read is here; the handler reports the error
		} else {
			missing++
		}
	}
	return existing, missing
}

// severalKeys says whether the keys are not all the same.
func severalKeys(keys []keyAt) bool {
	for _, k := range keys[1:] {
		if !bytes.Equal(k.name, keys[0].name) {
			return true
		}
	}
	return false
}

func endpoint(slot uint16, n *cluster.Node) string {
	return strconv.Itoa(int(slot)) + " " + n.Endpoint()
}

// sendAway answers a request that another node serves. If its slot is being granted to this one, it waits instead: the former owner may
// know of the grant already, and would send it back.
func (x *executor) sendAway(c *conn, cmd *command.Command, n *need, redirect string) verdict {
	if strings.HasPrefix(redirect, moved) {
		if c.wait = x.node.Arriving(n.keys[0].slot); c.wait != nil {
			return held
		}
	}
	return x.redirect(c, cmd, redirect)
}

// redirect answers with what route returned.
func (x *executor) redirect(c *conn, cmd *command.Command, text string) verdict {
	x.node.Redirect(&c.Session, cmd, text)
	c.endAsking()
	return ran
}
