package engine

import "github.com/cairndb/cairn/engine/keys"

// Prefetch asks the processor to fetch what the commands for the keys will look up, which may be anywhere in memory: their waits
// overlap then. It changes nothing that anybody could tell but by the clock. At most PrefetchKeys of them are considered.
func (t *Txn) Prefetch(db uint8, names [][]byte) {
	var hashes [PrefetchKeys]uint64
	names = names[:min(len(names), PrefetchKeys)]
	for i, name := range names {
		t.keyBuf = keys.AppendMeta(t.keyBuf[:0], keys.Slot(name), db, name)
		hashes[i] = hashKey(t.keyBuf)
		t.s.records.prefetchIndex(hashes[i])
	}
	for _, hash := range hashes[:len(names)] {
		t.s.records.prefetchEntry(hash)
	}
}

// PrefetchKeys is as many waits as overlap well.
const PrefetchKeys = 16

// PrefetchSub is Prefetch for sub-keys: one that is looked up soon, and one that is later, of which the first step is taken.
func (t *Txn) PrefetchSub(slot uint16, id uint64, soon, later []byte) {
	t.keyBuf = keys.AppendSub(t.keyBuf[:0], slot, id, later)
	t.s.records.prefetchIndex(hashKey(t.keyBuf))
	t.keyBuf = keys.AppendSub(t.keyBuf[:0], slot, id, soon)
	t.s.records.prefetchEntry(hashKey(t.keyBuf))
}

// prefetchIndex is the first step of a look-up.
func (t *recordTable) prefetchIndex(hash uint64) {
	sh := t.shard(hash)
	if !sh.mu.TryLock() {
		return
	}
	prefetch(&sh.index[int(uint32(hash))&(len(sh.index)-1)])
	sh.mu.Unlock()
}

// prefetchEntry is the second, once the index is there.
func (t *recordTable) prefetchEntry(hash uint64) {
	sh := t.shard(hash)
	if !sh.mu.TryLock() {
		return
	}
	mask, tag := len(sh.index)-1, uint32(hash)
	pos := int(tag) & mask
	for v := sh.index[pos]; v != 0; v = sh.index[pos] {
		if uint32(v>>32) == tag {
			prefetch(&sh.at(uint32(v))[0])
			break
		}
		pos = (pos + 1) & mask
	}
	sh.mu.Unlock()
}
