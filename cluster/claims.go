package cluster

import (
	"fmt"

	"github.com/cairndb/cairn/cluster/slotmap"
)

const slots = slotmap.Slots

// Refusal is an error whose text Redis sends, without "ERR ".
type Refusal string

func (r Refusal) Error() string { return string(r) }

// errLeft: what is left of a slot that was handed over is old, and must not come back with it.
const errLeft = TryAgain("This node has yet to drop what it had of the slot")

func refuse(format string, args ...any) error { return Refusal(fmt.Sprintf(format, args...)) }

// What follows are the changes that CLUSTER subcommands make to a table; the caller settles it
// afterwards. Error texts are Redis's, without their "ERR ".

func (t *table) addSlots(set *slotmap.Set) error {
	for _, r := range set.Ranges() {
		for s := int(r.First); s <= int(r.Last); s++ {
			if t.owners.Owner(uint16(s)) != "" {
				return refuse("Slot %d is already busy", s)
			}
		}
	}
	for _, r := range set.Ranges() {
		for s := int(r.First); s <= int(r.Last); s++ {
			delete(t.importing, uint16(s))
			t.claim(uint16(s))
		}
	}
	t.setOwn(set, nil)
	return nil
}

// claim keeps an exception that hides another node's claim until ours has had the time to win.
func (t *table) claim(slot uint16) {
	if e, ok := t.local[slot]; ok {
		e.owner = ""
		t.local[slot] = e
	}
}

// setOwn changes this node's claims.
func (t *table) setOwn(add, del *slotmap.Set) {
	me := t.me()
	own := slotmap.SetOf(me.Slots)
	for i := range own {
		if add != nil {
			own[i] |= add[i]
		}
		if del != nil {
			own[i] &^= del[i]
		}
	}
	me.Slots = own.Ranges()
	t.touch()
}

func (t *table) delSlots(set *slotmap.Set, now int64) error {
	for _, r := range set.Ranges() {
		for s := int(r.First); s <= int(r.Last); s++ {
			slot := uint16(s)
			switch owner := t.owners.Owner(slot); owner {
			case "":
				return refuse("Slot %d is already unassigned", s)
			case t.self:
			default:
				t.hide(slot, now)
			}
		}
	}
	t.setOwn(nil, set)
	return nil
}

// hide lets nobody own the slot on this node for a while, as if its owner had not been heard.
func (t *table) hide(slot uint16, now int64) {
	t.local[slot] = exception{epoch: t.owners.Epoch(slot), until: now + exceptionMillis}
}

// flushSlots gives up every slot of this node.
func (t *table) flushSlots() { t.setOwn(nil, slotmap.SetOf(t.me().Slots)) }

// migrate marks a slot of this node as on its way to another.
func (t *table) migrate(slot uint16, to slotmap.NodeID) error {
	if t.owners.Owner(slot) != t.self {
		return refuse("I'm not the owner of hash slot %d", slot)
	}
	if t.peers[to] == nil {
		return refuse("I don't know about node %s", to)
	}
	t.migrating[slot] = to
	return nil
}

// imports marks a slot as on its way to this node.
func (t *table) imports(slot uint16, from slotmap.NodeID) error {
	if t.owners.Owner(slot) == t.self {
		return refuse("I'm already the owner of hash slot %d", slot)
	}
	if t.peers[from] == nil {
		return refuse("I don't know about node %s", from)
	}
	if t.remains().Has(slot) {
		return errLeft
	}
	t.importing[slot] = from
	return nil
}

func (t *table) stable(slot uint16) {
	delete(t.migrating, slot)
	delete(t.importing, slot)
}

// assign gives a slot to a node. This node believes so until the node's own claim arrives;
// it takes a new epoch when it ends an import, so that its claim wins everywhere.
func (t *table) assign(slot uint16, to slotmap.NodeID, keys int64, now int64) error {
	if t.peers[to] == nil {
		return refuse("Unknown node %s", to)
	}
	owner := t.owners.Owner(slot)
	if owner == t.self && to != t.self && keys != 0 {
		return refuse("Can't assign hashslot %d to a different node while I still hold keys for this hash slot.", slot)
	}
	if keys == 0 {
		delete(t.migrating, slot)
	}
	one := slotmap.SetOf([]slotmap.Range{{First: slot, Last: slot}})
	if to != t.self {
		if owner != to {
			t.local[slot] = exception{owner: to, epoch: t.owners.Epoch(slot)}
		}
		t.setOwn(nil, one)
		return nil
	}
	if owner != "" && owner != t.self {
		t.hide(slot, now)
	}
	if t.importing[slot] != "" {
		delete(t.importing, slot)
		t.bump()
	}
	t.setOwn(one, nil)
	return nil
}

// bump gives this node the greatest config epoch, unless it has it (Redis clusterBumpConfigEpochWithoutConsensus).
func (t *table) bump() bool {
	if e := t.me().Epoch; e != 0 && e == t.maxEpoch() {
		return false
	}
	t.mint()
	return true
}

func (t *table) setEpoch(epoch uint64) error {
	switch me := t.me(); {
	case len(t.peers) > 1:
		return refuse("The user can assign a config epoch only when the node does not know any other node.")
	case me.Epoch != 0:
		return refuse("Node config epoch is already non-zero")
	default:
		me.Epoch = epoch
		t.currentEpoch = max(t.currentEpoch, epoch)
		t.touch()
		return nil
	}
}
