package rdb

import (
	"bytes"
	"errors"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/types"
)

// A listpack of a dumped stream has at most so many entries, and no more of them once it is so long: Redis's defaults.
const (
	streamNodeEntries = 100
	streamNodeBytes   = 4096
)

// streamWriter writes a stream.
type streamWriter struct {
	*writer
	nodes   uint64
	base    types.StreamID // of the first entry of the present node
	shared  [][]byte       // its fields
	entries int64
	body    *listpackWriter // the entries
	node    *listpackWriter
}

func (w *writer) stream(t *engine.Txn, k engine.Key) error {
	s, err := types.OpenStream(t, k)
	if err != nil {
		return err
	}
	w.kind(kindStream2)
	at := w.reserveCount()
	sw := streamWriter{writer: w, body: newListpack(), node: newListpack()}
	err = s.Range(types.StreamID{}, types.MaxStreamID, false, func(id types.StreamID, f types.Fields) bool {
		sw.entry(id, f)
		return w.fits(sw.body.len())
	})
	if err != nil {
		return err
	}
	sw.flush()
	w.putCount(at, sw.nodes)
	w.length(s.Len())
	for _, id := range []types.StreamID{s.LastID(), s.FirstID(), s.MaxDeletedID()} {
		w.streamID(id)
	}
	w.length(s.Added())
	w.length(s.GroupCount())
	failed := error(nil)
	err = s.EachGroup(func(g *types.Group) bool {
		failed = w.group(g)
		return failed == nil && w.fits(0)
	})
	if err == nil {
		err = failed
	}
	return err
}

func (w *writer) streamID(id types.StreamID) {
	w.length(id.Ms)
	w.length(id.Seq)
}

// rawID appends an ID of 16 bytes.
func (w *writer) rawID(id types.StreamID) { w.raw(streamID{id.Ms, id.Seq}.append(nil)) }

// entry appends an entry to the present node.
func (w *streamWriter) entry(id types.StreamID, f types.Fields) {
	if w.entries >= streamNodeEntries || w.body.len() >= streamNodeBytes {
		w.flush()
	}
	if w.entries == 0 {
		w.base = id
		w.shared = w.shared[:0]
		isField := true
		f.Each(func(p []byte) {
			if isField {
				w.shared = append(w.shared, bytes.Clone(p))
			}
			isField = !isField
		})
	}
	w.entries++
	same := w.sameFields(f)
	flags := int64(0)
	if same {
		flags = flagSameFields
	}
	before := w.body.count
	w.body.int(flags)
	w.body.int(int64(id.Ms - w.base.Ms))
	w.body.int(int64(id.Seq - w.base.Seq))
	if !same {
		w.body.int(int64(f.Len()))
	}
	isField := true
	f.Each(func(p []byte) {
		if !same || !isField {
			w.body.string(p)
		}
		isField = !isField
	})
	w.body.int(int64(w.body.count - before))
}

// sameFields says whether an entry has the fields of the node's first.
func (w *streamWriter) sameFields(f types.Fields) bool {
	if f.Len() != len(w.shared) {
		return false
	}
	i, same := 0, true
	f.Each(func(p []byte) {
		if i%2 == 0 && !bytes.Equal(p, w.shared[i/2]) {
			same = false
		}
		i++
	})
	return same
}

// flush ends the present node, if it has entries.
func (w *streamWriter) flush() {
	if w.entries == 0 {
		return
	}
	w.node.reset()
	w.node.int(w.entries)
	w.node.int(0)
	w.node.int(int64(len(w.shared)))
	for _, field := range w.shared {
		w.node.string(field)
	}
	w.node.int(0)
	w.node.append(w.body)
	w.string(streamID{w.base.Ms, w.base.Seq}.append(nil))
	w.string(w.node.finish())
	w.body.reset()
	w.entries = 0
	w.nodes++
}

func (w *writer) group(g *types.Group) error {
	w.string(g.Name)
	w.streamID(g.LastID)
	w.length(uint64(g.Read))
	w.length(g.Pending())
	err := g.EachPending(nil, types.StreamID{}, types.MaxStreamID, false, func(p types.PendingEntry, _ *types.Consumer) bool {
		w.rawID(p.ID)
		w.little(uint64(p.Delivered))
		w.length(p.Count)
		return w.fits(0)
	})
	if err != nil {
		return err
	}
	w.length(g.Consumers())
	failed := error(nil)
	err = g.EachConsumer(func(c *types.Consumer) bool {
		w.string(c.Name)
		w.little(uint64(c.Seen))
		w.length(c.Pending())
		failed = g.EachPending(c, types.StreamID{}, types.MaxStreamID, false, func(p types.PendingEntry, _ *types.Consumer) bool {
			w.rawID(p.ID)
			return w.fits(0)
		})
		return failed == nil && w.fits(0)
	})
	if err == nil {
		err = failed
	}
	return err
}

func storeStream(t *engine.Txn, k engine.Key, v *Value) error {
	s, err := types.OpenStream(t, k)
	if err != nil {
		return err
	}
	if err := s.Create(0); err != nil {
		return err
	}
	var group *types.Group
	var consumer *types.Consumer
	save := func() error {
		if group == nil {
			return nil
		}
		return group.Save()
	}
	err = v.eachOfStream(&streamVisitor{
		entry: func(id streamID, fields [][]byte) error {
			err := s.Add(types.StreamID{Ms: id.ms, Seq: id.seq}, fields)
			if errors.Is(err, types.ErrIDTooSmall) { // 0-0
				err = ErrFormat
			}
			return err
		},
		state: func(state streamState) error {
			s.SetIDs(types.StreamID{Ms: state.last.ms, Seq: state.last.seq}, types.StreamID{Ms: state.maxDeleted.ms, Seq: state.maxDeleted.seq}, state.added)
			return nil
		},
		group: func(name []byte, last streamID, read int64) (err error) {
			if err := save(); err != nil {
				return err
			}
			group, err = s.CreateGroup(name, types.StreamID{Ms: last.ms, Seq: last.seq}, read)
			return err
		},
		consumer: func(name []byte, seen, active int64) (err error) {
			if consumer, _, err = group.CreateConsumer(name); err == nil {
				group.SetTimes(consumer, seen, active)
			}
			return err
		},
		pending: func(d delivery) error {
			return group.AddPending(consumer, types.StreamID{Ms: d.id.ms, Seq: d.id.seq}, d.at, d.count)
		},
	})
	if err != nil {
		return err
	}
	if err := save(); err != nil {
		return err
	}
	return s.Save()
}
