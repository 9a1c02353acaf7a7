package engine

import (
	"bytes"

	"github.com/cairndb/cairn/engine/keys"
)

const (
	minRecordIndex = 64
	// patience is how many pages are cleared out gently (what was asked for again stays) before one is forced.
	patience = 3
	// maxSweep is how many pages are looked at for the sake of one: beyond the limit with unsaved records it would be all of them, again and again.
	maxSweep = 16
)

func (sh *recordShard) clear() {
	sh.index = make([]uint64, minRecordIndex)
	sh.used = 0
	sh.pages = make([]recordPage, 1, 8)
	sh.free, sh.order, sh.current = nil, nil, 0
	sh.bytes = 8 * minRecordIndex
}

func (sh *recordShard) at(location uint32) entry {
	p := &sh.pages[location>>16]
	return p.buf[int(location&0xffff)<<3:]
}

// find returns the entry of a key, or nil, and its position in the index, or where it could go.
func (sh *recordShard) find(hash uint64, key []byte) (pos int, e entry) {
	mask, tag := len(sh.index)-1, uint32(hash)
	for pos = int(tag) & mask; ; pos = (pos + 1) & mask {
		v := sh.index[pos]
		if v == 0 {
			return pos, nil
		}
		if uint32(v>>32) == tag {
			if e := sh.at(uint32(v)); bytes.Equal(e.key(), key) {
				return pos, e
			}
		}
	}
}

// insert stores an entry for a key in place of the one that it may have.
func (sh *recordShard) insert(hash uint64, key, rec []byte, round uint32) {
	size := entrySize(len(key), len(rec))
	location := sh.alloc(size)
	e := sh.at(location)
	e.setRound(round)
	e.setKeyWord(uint32(len(key)))
	e.setSize(size)
	copy(e[entryHeader:], key)
	e.setValue(rec)
	if 4*(sh.used+1) > 3*len(sh.index) {
		sh.growIndex()
	}
	pos, old := sh.find(hash, key) // making room may have dropped it
	if e.kind() == keys.KindMeta {
		sh.slots[e.slot()].count(old != nil && old.present() && !sh.void(old), rec != nil)
	}
	if old != nil {
		old.setValLen(entryDead)
	} else {
		sh.used++
	}
	sh.index[pos] = uint64(uint32(hash))<<32 | uint64(location)
}

func (sh *recordShard) growIndex() {
	old := sh.index
	sh.index = make([]uint64, 2*len(old))
	sh.bytes += 8 * int64(len(old))
	mask := len(sh.index) - 1
	for _, v := range old {
		if v == 0 {
			continue
		}
		pos := int(v>>32) & mask
		for sh.index[pos] != 0 {
			pos = (pos + 1) & mask
		}
		sh.index[pos] = v
	}
}

// forget removes what stands at a position of the index, and closes the gap.
func (sh *recordShard) forget(pos int) {
	mask := len(sh.index) - 1
	for next := (pos + 1) & mask; sh.index[next] != 0; next = (next + 1) & mask {
		home := int(sh.index[next]>>32) & mask
		if (next-home)&mask >= (next-pos)&mask {
			sh.index[pos] = sh.index[next]
			pos = next
		}
	}
	sh.index[pos] = 0
	sh.used--
}

// alloc returns the location of size bytes.
func (sh *recordShard) alloc(size int) uint32 {
	if size > sh.page {
		// A page of its own, which is given back when its record goes.
		sh.makeRoom(size, size)
		n := sh.addPage(size)
		sh.order = append(sh.order, n)
		sh.pages[n].used = size
		return n << 16
	}
	if sh.current == 0 || len(sh.pages[sh.current].buf)-sh.pages[sh.current].used < size {
		sh.turnPage(size)
	}
	p := &sh.pages[sh.current]
	at := p.used
	p.used += size
	return sh.current<<16 | uint32(at>>3)
}

// turnPage makes a page with room for size bytes the current one: the oldest, cleared out, once the shard has all that it may have.
func (sh *recordShard) turnPage(size int) {
	if sh.current != 0 {
		sh.order = append(sh.order, sh.current)
		sh.current = 0
	}
	if sh.current = sh.makeRoom(sh.page, size); sh.current == 0 {
		sh.current = sh.addPage(sh.page)
	}
}

// makeRoom clears out the oldest pages until the shard may have another one of so many bytes, and drops those that are
// empty then. If that one would be like others, and one of these has room for size bytes, it is returned instead; 0 otherwise.
func (sh *recordShard) makeRoom(page, size int) uint32 {
	for try, pages := 0, min(len(sh.order), maxSweep); try < pages && sh.bytes+int64(page) > sh.quota; try++ {
		n := sh.order[0]
		sh.order = sh.order[1:]
		sh.clearOut(n, try >= patience)
		p := &sh.pages[n]
		switch {
		case p.used == 0 && (len(p.buf) != sh.page || page != sh.page || sh.bytes > sh.quota):
			sh.dropPage(n)
		case page == sh.page && len(p.buf) == sh.page && sh.page-p.used >= max(size, sh.page/4):
			return n
		default:
			sh.order = append(sh.order, n)
		}
	}
	return 0
}

func (sh *recordShard) addPage(size int) uint32 {
	sh.bytes += int64(size)
	p := recordPage{buf: make([]byte, size)}
	if last := len(sh.free) - 1; last >= 0 {
		n := sh.free[last]
		sh.free = sh.free[:last]
		sh.pages[n] = p
		return n
	}
	sh.pages = append(sh.pages, p)
	return uint32(len(sh.pages) - 1)
}

func (sh *recordShard) dropPage(n uint32) {
	sh.bytes -= int64(len(sh.pages[n].buf))
	sh.pages[n] = recordPage{}
	sh.free = append(sh.free, n)
}

// clearOut drops the entries of a page that may go, and moves the others together. Those that were asked for
// since the last time stay once more, unless forced.
func (sh *recordShard) clearOut(n uint32, force bool) {
	p := &sh.pages[n]
	to := 0
	for from := 0; from < p.used; {
		e := entry(p.buf[from:])
		size := e.size()
		if e.valLen() != entryDead {
			pos := sh.positionOf(e, n<<16|uint32(from>>3))
			void := sh.void(e)
			if !sh.unsaved(e) && (force || !e.wasUsed() || void) {
				sh.forget(pos)
				if e.present() && !void {
					sh.gaveWay(e)
				}
			} else {
				e.clearUsed()
				copy(p.buf[to:], p.buf[from:from+size])
				sh.index[pos] = sh.index[pos]>>32<<32 | uint64(n<<16|uint32(to>>3))
				to += size
			}
		}
		from += size
	}
	p.used = to
}

// gaveWay notes that the table has lost what exists.
func (sh *recordShard) gaveWay(e entry) {
	if e.kind() == keys.KindSub {
		sh.whole.end(e.slot(), e.id())
	} else {
		sh.slots[e.slot()].population.Add(droppedOne)
	}
}

func (sh *recordShard) unsaved(e entry) bool { return e.round() > sh.slots[e.slot()].settled.Load() }

// void says that the entry's slot was dropped after it was made.
func (sh *recordShard) void(e entry) bool {
	return sh.dropped.Load() && e.round() < sh.slots[e.slot()].floor.Load()
}

// positionOf finds the entry at a location in the index.
func (sh *recordShard) positionOf(e entry, location uint32) int {
	mask := len(sh.index) - 1
	pos := int(uint32(hashKey(e.key()))) & mask
	for uint32(sh.index[pos]) != location {
		pos = (pos + 1) & mask
	}
	return pos
}

// appendUnsaved appends the unsaved records with this hash as writes.
func (sh *recordShard) appendUnsaved(dst []op, a *arena, slot uint16, hash uint64) []op {
	mask, tag := len(sh.index)-1, uint32(hash)
	for pos := int(tag) & mask; sh.index[pos] != 0; pos = (pos + 1) & mask {
		if uint32(sh.index[pos]>>32) != tag {
			continue
		}
		e := sh.at(uint32(sh.index[pos]))
		if e.slot() != slot || !sh.unsaved(e) {
			continue
		}
		o := op{kind: opDelete, slot: slot, meta: true, hash: hash, key: a.copy(e.key())}
		if v := e.value(); v != nil {
			o.kind, o.val = opSet, a.copy(v)
		}
		dst = append(dst, o)
	}
	return dst
}
