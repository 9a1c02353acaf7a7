package replication

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/cairndb/cairn/engine"
	wal "github.com/cairndb/cairn/engine/log"
)

const (
	// maxRepairs is how often a repair of slots is tried before everything is fetched.
	maxRepairs = 3
	// smallRepair is how many bytes a repair may always take. A larger one must not take more than all that there is.
	smallRepair = 64 << 20
)

var (
	errTooMany = errors.New("it was tried too often")
	errTooMuch = errors.New("the primary finds it too much")
)

// sendSlots sends the slots to a replica that can't cut its log at the fork, and the log from there until what makes the copies whole; or it
// says that everything has to be fetched.
func (s *session) sendSlots(ctx context.Context, fork engine.Offset, slots []uint16) error {
	log := s.store.Log()
	bytes, all := s.store.CopySize(slots)
	cost := bytes + int64(log.Written()-fork)
	if cost > max(s.m.smallRepair, all) {
		if err := s.w.write(frameDecision, 0, []byte{byte(modeFull)}, u64(0)); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}
	s.m.slotSyncs.Add(1)
	s.m.notice("replication: slots are sent", "replica", s.hello.nodeID, "slots", len(slots), "bytes", bytes, "offset", fork)
	s.progress.total.Store(cost)
	s.state.Store(int32(stateSendFiles))
	t := &throttle{rate: func() int64 { return s.m.settings.Load().SyncRate }}
	chunks := &chunkWriter{s: s, ctx: ctx, t: t}
	out := bufio.NewWriterSize(chunks, chunkSize)
	if _, err := s.store.CopySlots(ctx, slots, out); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if err := s.w.write(frameEnd, 0, u32(0), u32(chunks.crc)); err != nil {
		return err
	}
	if _, err := log.Flush(); err != nil { // the copies may hold what was not written yet
		return err
	}
	link, err := log.LinkAt(fork)
	if err != nil {
		return err
	}
	return s.sendRest(ctx, t, wal.Start{Offset: fork, Link: link, Terms: log.Terms()}, log.Written())
}

// chunkWriter sends what is written to it as one file.
type chunkWriter struct {
	s   *session
	ctx context.Context
	t   *throttle
	at  int64
	crc uint32
}

func (c *chunkWriter) Write(p []byte) (n int, err error) {
	for n < len(p) {
		piece := p[n:min(n+chunkSize, len(p))]
		if err := c.s.w.write(frameChunk, 0, u32(0), u64(uint64(c.at)), piece); err != nil {
			return n, err
		}
		c.crc = crc32.Update(c.crc, castagnoli, piece)
		c.at += int64(len(piece))
		c.s.progress.done.Add(int64(len(piece)))
		n += len(piece)
		if err := c.t.wait(c.ctx, len(piece)); err != nil {
			return n, err
		}
	}
	return n, nil
}

// fetchSlots fetches the slots that the log's records behind the fork touch, and the primary's log from there.
func (c *linkConn) fetchSlots(ctx context.Context, fork engine.Offset) error {
	slots, err := c.store.Divergent(fork)
	if c.l.repairs++; err == nil && c.l.repairs > maxRepairs {
		err = errTooMany
	}
	if err != nil {
		return c.l.giveUpRepair(err)
	}
	began := time.Now()
	f := c.newFetch(ctx)
	err = f.runSlots(c.l.m.o.Dir, fork, slots)
	c.l.m.fetched.Add(uint64(f.progress.done.Load()))
	if errors.Is(err, errTooMuch) {
		return c.l.giveUpRepair(err)
	}
	if err == nil {
		c.l.m.notice("replication: slots are fetched", "slots", len(slots), "bytes", f.progress.done.Load(), "took", time.Since(began))
	}
	return err
}

// giveUpRepair makes the link ask for everything.
func (l *link) giveUpRepair(err error) error {
	l.m.notice("replication: everything is fetched, since slots can't be repaired", "err", err)
	l.full = true
	return errRetry
}

// repair replaces the slots by what was fetched, and the log behind the fork by the primary's.
func (c *linkConn) repair(ctx context.Context) error {
	err := c.l.m.replace(ctx, engine.Repair)
	if errors.Is(err, engine.ErrNoRepair) {
		return c.l.giveUpRepair(err)
	}
	if err != nil {
		return err
	}
	c.l.m.slotRepairs.Add(1)
	c.l.m.notice("replication: slots were repaired")
	c.l.agrees()
	c.l.forgetFreshness()
	return errRetry
}

// agrees notes that the log no longer parts from the primary's.
func (l *link) agrees() { l.ahead, l.repairs = false, 0 }

// runSlots is run for slots.
func (f *fetch) runSlots(dir string, fork engine.Offset, slots []uint16) error {
	f.lastCompleted = -1
	if err := f.w.write(frameRepair, 0, engine.AppendSlotSet(nil, slots)); err != nil {
		return err
	}
	out, err := engine.NewSlotRepair(dir, f.fs, fork, slots)
	if err != nil {
		return err
	}
	if err := errors.Join(f.copies(out), out.Close()); err != nil {
		return err
	}
	fr, err := f.next()
	if err != nil {
		return err
	}
	if fr.kind != frameBegin {
		return errFrame
	}
	if err := f.beginLog(&fr); err != nil {
		return err
	}
	if f.begin.Offset != fork {
		return errFrame
	}
	return f.fetchLog()
}

// copies writes what comes of the slots.
func (f *fetch) copies(out *engine.SlotRepair) error {
	at, crc := uint64(0), uint32(0)
	for {
		fr, err := f.next()
		if err != nil {
			return err
		}
		p := fr.parse()
		switch fr.kind {
		case frameDecision:
			return errTooMuch
		case frameEnd:
			if p.u32() != 0 || p.u32() != crc || !p.ok {
				return fmt.Errorf("%w: slots", errChecksum)
			}
			return nil
		case frameChunk:
			if p.u32() != 0 || p.u64() != at || !p.ok {
				return errFrame
			}
		default:
			return errFrame
		}
		if _, err := out.Write(p.b); err != nil {
			return err
		}
		crc = crc32.Update(crc, castagnoli, p.b)
		at += uint64(len(p.b))
		f.progress.done.Add(int64(len(p.b)))
		f.progress.total.Add(int64(len(p.b)))
	}
}
