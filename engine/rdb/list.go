package rdb

import (
	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/types"
)

// The forms of a list:
//
//	1   count, strings
//	10  a ziplist
//	14  count, ziplists                         quicklist, Redis 3.2 to 6.2
//	18  count, [container 1, a string] or       quicklist, since Redis 7.0
//	    [container 2, a listpack]
const (
	containerPlain  = 1
	containerPacked = 2
)

// eachListElement calls fn for the elements from the head on; they stay valid as the payload does.
func (v *Value) eachListElement(fn func(e []byte) error) error {
	r := v.reader()
	switch v.kind {
	case kindList:
		n, err := r.count()
		if err != nil {
			return err
		}
		return eachText(&plain{&r, n}, fn)
	case kindListZiplist:
		return r.ziplist(fn)
	}
	if v.kind == kindQuicklist {
		return r.times(func() error { return r.ziplist(fn) })
	}
	return r.times(func() error { return r.quicklistNode(fn) })
}

func (r *reader) ziplist(fn func(e []byte) error) error {
	p, err := r.string()
	if err != nil {
		return err
	}
	it, err := openZiplist(p)
	if err != nil {
		return err
	}
	return eachText(it, fn)
}

func (r *reader) listpack(fn func(e []byte) error) error {
	p, err := r.string()
	if err != nil {
		return err
	}
	it, err := openListpack(p)
	if err != nil {
		return err
	}
	return eachText(it, fn)
}

func (r *reader) quicklistNode(fn func(e []byte) error) error {
	container, err := r.number()
	switch {
	case err != nil:
		return err
	case container == containerPacked:
		return r.listpack(fn)
	case container != containerPlain:
		return ErrFormat
	}
	p, err := r.string()
	if err != nil {
		return err
	}
	return fn(p)
}

// eachText calls fn for all elements.
func eachText(it elements, fn func(e []byte) error) error {
	var d digits
	for {
		e, ok, err := it.next()
		if err != nil || !ok {
			return err
		}
		if err := fn(d.text(&e)); err != nil {
			return err
		}
	}
}

// nodeBytes is about how long the listpacks of a dumped list are.
const nodeBytes = 8 << 10

func (w *writer) list(t *engine.Txn, k engine.Key) error {
	l, err := types.OpenList(t, k)
	if err != nil {
		return err
	}
	w.kind(kindQuicklist2)
	at, nodes := w.reserveCount(), uint64(0)
	node := newListpack()
	flush := func() {
		w.length(containerPacked)
		w.string(node.finish())
		node.reset()
		nodes++
	}
	err = l.Each(0, l.Len(), false, func(e []byte) bool {
		if node.count > 0 && node.len()+len(e) > nodeBytes {
			flush()
		}
		node.string(e)
		return w.fits(node.len())
	})
	flush()
	w.putCount(at, nodes)
	return err
}

func storeList(t *engine.Txn, k engine.Key, v *Value) error {
	l, err := types.OpenList(t, k)
	if err != nil {
		return err
	}
	b := batch{flush: func(elements [][]byte) error { return l.Push(types.Right, elements...) }}
	if err := v.eachListElement(b.add); err != nil {
		return err
	}
	return b.end()
}
