package server

import (
	"bytes"
	"strconv"

	"github.com/cairndb/cairn/cluster"
	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/server/command"
	"github.com/cairndb/cairn/server/resp"
)

// route decides under the locks of a request's slots whether this node serves it; if not, it returns the text of the
// error that says who does (Redis: getNodeByQuery). Standalone, every node serves everything.
func (x *executor) route(c *conn, n *need) (redirect string) {
	view := x.node.View()
	if !view.Enabled() || len(n.keys) == 0 {
		return ""
	}
	slot := n.keys[0].slot
	if text := routeView(view, c, n); text != "" {
		return text
	}
	target, importing := view.Migrating(slot), view.Importing(slot)
	if target == nil && !importing {
		return ""
	}
	existing, missing := x.present(c, n.keys)
	several := severalKeys(n.keys)
	switch {
	case view.Owns(slot) && target != nil && missing > 0:
		if existing > 0 {
			return resp.ErrTryAgain
		}
		return "ASK " + endpoint(slot, target)
	case !view.Owns(slot) && several && missing > 0:
		return resp.ErrTryAgain
	}
	return ""
}

// routeQueued is route for a request inside MULTI, which is only queued: whether keys have moved
// already is looked at by EXEC.
func (x *executor) routeQueued(c *conn, n *need) (redirect string) {
	view := x.node.View()
	if !view.Enabled() || len(n.keys) == 0 {
		return ""
	}
	return routeView(view, c, n)
}

// routeView is the part of routing that needs no look at the keys' records.
func routeView(view *cluster.View, c *conn, n *need) (redirect string) {
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
	asked := c.Asking || n.flags&command.Asking != 0
	if view.Owns(slot) || asked && view.Importing(slot) {
		return ""
	}
	return "MOVED " + endpoint(slot, owner)
}

// present counts which of the keys exist here.
func (x *executor) present(c *conn, keys []keyAt) (existing, missing int) {
	db := x.node.Store.DB(c.DB)
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

// redirect answers with what route returned.
func (x *executor) redirect(c *conn, cmd *command.Command, text string) verdict {
	x.node.Redirect(&c.Session, cmd, text)
	if !c.InMulti {
		c.Asking = false
	}
	return ran
}
