package log

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Sync makes everything appended before the call durable.
func (l *Log) Sync() error {
	if l.o.ReadOnly {
		return nil
	}
	err := l.sync()
	l.waiters.notify(l.wakeCaller)
	return err
}

func (l *Log) sync() error {
	target := l.end.Load()
	if _, err := l.Flush(); err != nil {
		return err
	}
	return l.syncTo(target)
}

// quickSync is how long a sync may have taken last for FlushStable to wait for the next one itself.
const quickSync = 2 * time.Millisecond

// FlushStable is Flush and, under Always, a sync in the caller's thread if the last one was quick: then
// to hand it to another thread and to hear of its end takes as long as the sync itself. On a
// slow disk it leaves the sync to whoever waits (OnStable, WaitStable).
func (l *Log) FlushStable() (stable uint64, err error) {
	if l.Policy() != Always || l.lastSync.Load() > int64(quickSync) {
		return l.Flush()
	}
	err = l.Sync()
	return l.Stable(), err
}

// syncTo syncs what is written, unless another sync has covered target by the time it is our turn.
func (l *Log) syncTo(target uint64) error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.mu.Lock()
	written, unsealed, shut := l.written.Load(), l.unsealed(), l.shut
	l.mu.Unlock()
	switch err := l.Err(); {
	case errors.Is(err, ErrFailed):
		return err
	case l.synced.Load() >= target && (shut || len(unsealed) == 1):
		return nil
	case shut:
		return ErrClosed
	}
	began := time.Now()
	l.syncBegan.Store(&began)
	err := l.syncSegments(unsealed)
	took := time.Since(began)
	if err == nil {
		l.note(unsealed, written)
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		return l.fail(err)
	}
	l.synced.Store(written)
	l.syncBegan.Store(nil)
	l.counters.Syncs++
	l.counters.SyncTime += took
	l.counters.LastSync = took
	l.lastSync.Store(int64(took))
	l.counters.MaxSync = max(l.counters.MaxSync, took)
	for i, s := range unsealed {
		if i < len(unsealed)-1 {
			s.sealed = true
			err = errors.Join(err, s.file.Close())
			s.file = nil
		}
	}
	return err
}

// note makes the state file name a segment that was synced for the first time. Its loss can't be told otherwise, so this comes before
// anything in it counts as synced. Caller holds syncMu.
func (l *Log) note(segs []*segment, synced uint64) {
	l.mu.Lock()
	for _, s := range segs {
		s.named = true
	}
	l.mu.Unlock()
	if l.noted == segs[len(segs)-1].start {
		return
	}
	if err := l.saveState(synced); err != nil {
		l.warnUnsaved(err)
	}
}

// unsealed returns the active segment and the one before it if that is not wholly synced. Caller holds mu.
func (l *Log) unsealed() []*segment {
	i := len(l.segs) - 1
	for i > 0 && !l.segs[i-1].sealed {
		i--
	}
	return append([]*segment(nil), l.segs[i:]...)
}

// syncSegments syncs names before data, so that a record that counts as synced can be found.
func (l *Log) syncSegments(segs []*segment) error {
	for _, s := range segs {
		if !s.named { // only whoever holds syncMu changes it
			if err := syncDir(l.fs, l.dir); err != nil {
				return err
			}
			break
		}
	}
	for _, s := range segs {
		if err := s.file.SyncData(); err != nil {
			return err
		}
	}
	return nil
}

// fail stops the log for good. Caller holds mu.
func (l *Log) fail(err error) error {
	err = fmt.Errorf("%w: %w", ErrFailed, err)
	l.trouble.Store(&trouble{err: err})
	l.o.Logger.Error("log sync failed; nothing more is written", "dir", l.dir, "err", err)
	l.cond.Broadcast()
	wake(l.wakeCaller)
	return err
}

// Stable is the offset up to which the policy holds: everything before it has reached the
// disk (Always) or the operating system. Switching to Always may move it back, and so does a slow sync under EverySec.
func (l *Log) Stable() uint64 {
	if p := l.Policy(); p == Always || p == EverySec && l.syncIsSlow() {
		return l.synced.Load()
	}
	return l.written.Load()
}

// syncIsSlow: a sync has been running for longer than the pause before it was. What was written since the one before began may
// be lost with it, so nothing more is acknowledged until it ends; otherwise the promise of a second would not hold.
func (l *Log) syncIsSlow() bool {
	began := l.syncBegan.Load()
	return began != nil && time.Since(*began) > l.o.SyncInterval
}

// OnStable calls fn once, from a goroutine of the log, when Stable has reached
// off (fn(nil)), or the log has failed for good or was closed before (fn(err)). fn must not block.
func (l *Log) OnStable(off uint64, fn func(error)) {
	if !l.waiters.add(off, fn) {
		go fn(ErrClosed)
		return
	}
	if l.Stable() >= off || l.Err() != nil {
		wake(l.wakeCaller)
	} else if l.Policy() == Always {
		wake(l.wakeSyncer)
	} else if l.written.Load() >= off {
		l.delayed.Add(1)
	}
}

// WaitStable writes if needed, and returns when Stable has reached off.
func (l *Log) WaitStable(ctx context.Context, off uint64) error {
	if l.Stable() >= off {
		return nil
	}
	if stable, err := l.Flush(); err != nil || stable >= off {
		return err
	}
	done := make(chan error, 1)
	l.OnStable(off, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// runSyncer syncs on a timer (EverySec), when somebody waits (Always), and when a segment is
// complete. On the timer it also retries what has failed.
func (l *Log) runSyncer() {
	tick := time.NewTicker(l.o.SyncInterval)
	defer tick.Stop()
	for {
		ticked := false
		select {
		case <-l.quit:
			return
		case <-tick.C:
			ticked = true
		case <-l.wakeSyncer:
		}
		if ticked {
			l.retry()
		}
		if l.syncNeeded(ticked) {
			// An error stands in Err; the waiters learn of it from the caller.
			if err := l.sync(); err == nil {
				l.callWaiters()
			}
		}
	}
}

// retry tries again what has failed, unless that is final. What fails again says so in Err.
func (l *Log) retry() {
	if l.Err() != nil {
		_ = l.Recover()
	}
	_ = l.saveUnsaved()
}

func (l *Log) syncNeeded(ticked bool) bool {
	synced := l.synced.Load()
	switch behind := synced < l.end.Load(); l.Policy() {
	case Always:
		if behind && (ticked || l.waiters.anyAfter(synced)) {
			return true
		}
	case EverySec:
		if behind && ticked {
			return true
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.segs) > 1 && !l.segs[len(l.segs)-2].sealed
}

// runKeeper makes segments ahead.
func (l *Log) runKeeper() {
	for {
		select {
		case <-l.quit:
			return
		case <-l.wakeKeeper:
		}
		if !errors.Is(l.Err(), ErrFailed) {
			l.prepareNext()
		}
	}
}

// runCaller calls back.
func (l *Log) runCaller() {
	told := false
	for {
		select {
		case <-l.quit:
			return
		case <-l.wakeCaller:
		}
		l.callWaiters()
		if err := l.Err(); errors.Is(err, ErrFailed) && !told && l.o.OnFailure != nil {
			told = true
			l.o.OnFailure(err)
		}
	}
}

// callWaiters calls those whose offset is stable and, when the log has failed for good, all others.
func (l *Log) callWaiters() {
	err := l.Err()
	if !errors.Is(err, ErrFailed) {
		err = nil
	}
	l.waiters.call(l.Stable(), err)
	l.followers.call(l.Written(), err)
}

// waiters are the callbacks that wait for an offset.
type waiters struct {
	count atomic.Int64 // len(list), read without mu

	mu     sync.Mutex
	list   []waiter
	closed bool
}

type waiter struct {
	off uint64
	fn  func(error)
}

// add returns false when the waiters are closed.
func (w *waiters) add(off uint64, fn func(error)) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	w.list = append(w.list, waiter{off, fn})
	w.count.Store(int64(len(w.list)))
	return true
}

// notify wakes ch if anybody waits.
func (w *waiters) notify(ch chan struct{}) {
	if w.count.Load() > 0 {
		wake(ch)
	}
}

func (w *waiters) anyAfter(off uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.list {
		if w.list[i].off > off {
			return true
		}
	}
	return false
}

// call calls those that wait for no more than stable with nil and, if rest is not nil, the others with rest.
func (w *waiters) call(stable uint64, rest error) {
	if w.count.Load() == 0 {
		return
	}
	w.mu.Lock()
	var due []waiter
	kept := w.list[:0]
	for _, it := range w.list {
		if it.off <= stable || rest != nil {
			due = append(due, it)
		} else {
			kept = append(kept, it)
		}
	}
	clear(w.list[len(kept):])
	w.list = kept
	w.count.Store(int64(len(kept)))
	w.mu.Unlock()
	for _, it := range due {
		if it.off <= stable {
			it.fn(nil)
		} else {
			it.fn(rest)
		}
	}
}

// close calls all that are left; there will be no others.
func (w *waiters) close(stable uint64) {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.call(stable, ErrClosed)
}

func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
