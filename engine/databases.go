package engine

import (
	"errors"
	"fmt"

	"github.com/cairndb/cairn/engine/keys"
)

const (
	// maxLogical bounds the logical databases; as many physical numbers again are left for those
	// that are flushed and not removed yet.
	maxLogical  = 128
	maxPhysical = 256
)

// dbTable maps logical databases to the physical numbers that keys carry. FLUSHDB gives a
// database a clean number, and the reclaimer removes the keys of the old one later. It never changes: a new one replaces it.
type dbTable struct {
	physical [maxLogical]uint8
	dirty    [maxPhysical]bool // flushed, not removed yet
	isLive   [maxPhysical]bool // in physical
	// changed is false for the table that a store begins with, which is not stored.
	changed bool
}

func newDBTable() *dbTable {
	t := &dbTable{}
	for i := range t.physical {
		t.physical[i] = uint8(i)
	}
	return t.index()
}

func (t *dbTable) index() *dbTable {
	t.isLive = [maxPhysical]bool{}
	for _, p := range t.physical {
		t.isLive[p] = true
	}
	return t
}

func (t *dbTable) live(db uint8) bool { return t.isLive[db] }

func (t *dbTable) anyDirty() (db uint8, ok bool) {
	for i, d := range t.dirty {
		if d {
			return uint8(i), true
		}
	}
	return 0, false
}

const dbTableFormat = 1

var errDBTable = errors.New("engine: malformed database table")

// encode: format(1) physical(128) dirty(256, 0 or 1).
func (t *dbTable) encode() []byte {
	b := append([]byte{dbTableFormat}, t.physical[:]...)
	for _, d := range t.dirty {
		if d {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
	}
	return b
}

func decodeDBTable(b []byte) (*dbTable, error) {
	if len(b) != 1+maxLogical+maxPhysical || b[0] != dbTableFormat {
		return nil, errDBTable
	}
	t := &dbTable{changed: true}
	copy(t.physical[:], b[1:])
	for i, d := range b[1+maxLogical:] {
		t.dirty[i] = d != 0
	}
	t.index()
	n := 0
	for i := range t.isLive {
		if t.isLive[i] {
			n++
			if t.dirty[i] {
				return nil, fmt.Errorf("%w: database %d is in use and flushed", errDBTable, i)
			}
		}
	}
	if n != maxLogical {
		return nil, fmt.Errorf("%w: two logical databases share a physical one", errDBTable)
	}
	return t, nil
}

// DB maps a logical database number to the physical one that keys carry.
// Stable only while a transaction holds any lock (SWAPDB and FLUSHDB take the world lock).
func (s *Store) DB(logical int) uint8 { return s.dbs.Load().physical[logical] }

// Databases is the number of logical databases.
func (s *Store) Databases() int { return s.o.Databases }

// setTable makes next the table, as a write of the transaction.
func (t *Txn) setTable(next *dbTable) {
	next.changed = true
	prev := t.s.dbs.Load()
	t.set.add(op{kind: opSet, hash: hashKey(keys.DatabasesKey), key: keys.DatabasesKey, val: next.encode(), undo: prev})
	t.s.dbs.Store(next.index())
}

// noteMapping notes that a record up to end may have changed which databases the numbers stand for. Under world.
func (s *Store) noteMapping(end Offset) {
	if physical := s.dbs.Load().physical; physical != s.mapping {
		s.mapping, s.mappedAt = physical, end
	}
}

// FlushAll removes everything, but for slots that are being imported. It needs LockWorld, as do FlushDB and SwapDB. It is a
// log record of its own kind.
func (t *Txn) FlushAll() error {
	if !t.locks.world {
		return errNotLocked
	}
	t.flushAll()
	for db := range t.s.o.Databases {
		t.s.modified(t.s.DB(db), nil)
	}
	return nil
}

func (t *Txn) flushAll() {
	t.set.addUnindexed(op{kind: opFlushAll})
	t.recount()
	t.memoOK = false
	table := *t.s.dbs.Load()
	if table.changed {
		table.dirty = [maxPhysical]bool{}
		t.setTable(&table)
	}
}

// FlushDB removes the keys of one logical database. When no other one has any (always in a cluster) that is a FlushAll: slots that are
// being moved can follow it, which they can't when databases change their numbers.
func (t *Txn) FlushDB(logical int) error {
	if !t.locks.world {
		return errNotLocked
	}
	table := *t.s.dbs.Load()
	old := table.physical[logical]
	if c := t.DBCounts(old); c.Keys == 0 {
		return nil
	}
	if t.onlyDB(old) {
		t.flushAll()
		t.s.modified(old, nil)
		return nil
	}
	if t.s.arrivals.any() {
		return ErrImporting
	}
	fresh, ok := table.cleanNumber()
	if !ok {
		return ErrBusy
	}
	table.physical[logical] = fresh
	table.dirty[old] = true
	t.setTable(&table)
	t.memoOK = false
	t.s.modified(fresh, nil)
	return nil
}

// onlyDB says that no other database in use has keys.
func (t *Txn) onlyDB(db uint8) bool {
	table := t.s.dbs.Load()
	for other, live := range table.isLive {
		if live && uint8(other) != db && t.DBCounts(uint8(other)).Keys != 0 {
			return false
		}
	}
	return true
}

func (t *dbTable) cleanNumber() (uint8, bool) {
	for i := range t.isLive {
		if !t.isLive[i] && !t.dirty[i] {
			return uint8(i), true
		}
	}
	return 0, false
}

// SwapDB exchanges two logical databases. As keys that are being imported carry the numbers of databases, it is refused with ErrImporting
// meanwhile; so is FlushDB when other databases have keys.
func (t *Txn) SwapDB(a, b int) error {
	if !t.locks.world {
		return errNotLocked
	}
	if t.s.arrivals.any() {
		return ErrImporting
	}
	if a == b {
		return nil // nor does a WATCH notice it
	}
	table := *t.s.dbs.Load()
	table.physical[a], table.physical[b] = table.physical[b], table.physical[a]
	t.setTable(&table)
	t.s.modified(table.physical[a], nil)
	t.s.modified(table.physical[b], nil)
	return nil
}
