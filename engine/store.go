package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairndb/cairn/engine/keys"
	wal "github.com/cairndb/cairn/engine/log"
)

// Store is an open data folder.
type Store struct {
	o    Options
	dir  string
	lock io.Closer
	fs   *storeFS
	log  *wal.Log
	db   *pebble.DB
	// comparer is the one that the store was made with.
	comparer *pebble.Comparer

	packing atomic.Pointer[Packing]
	derived derived

	world sync.RWMutex
	// worldOffset is the offset that every slot depends on: the last commit under the world lock. Under world.
	worldOffset Offset
	// mapping is the physical numbers of the logical databases, mappedAt the offset (or a greater one) at which they became it. Under world.
	mapping  [maxLogical]uint8
	mappedAt Offset
	slots    [keys.Slots]slotState
	commitMu sync.Mutex
	// published is the offset up to which all commits are in Pebble and the record table.
	published atomic.Uint64
	// following: another node's log is the only source of changes; applier applies it.
	following   atomic.Bool
	applier     applier
	checkpoints atomic.Uint64

	counters counters
	dbs      atomic.Pointer[dbTable]
	records  *recordTable
	drains   drains
	reads    readPace
	expiries expiries
	reclaims reclaims
	arrivals arrivals
	onModify func(db uint8, name []byte)
	onExpire func(name []byte)

	admission admission
	backlog   atomic.Uint64
	reserve   atomic.Uint64

	// life is held by reads that hold no slot lock, so that Close waits for them.
	life    sync.RWMutex
	closed  atomic.Bool
	failure atomic.Pointer[error]
	// failedNow is closed when failure is set.
	failedNow chan struct{}
	stop      chan struct{}
	workers   sync.WaitGroup
	flushed   chan struct{} // a memtable was flushed

	commits, expired, expiredFields, reclaimed    atomic.Uint64
	backgroundErrors, corruptions, corruptRecords atomic.Uint64
	rewriteAfter                                  atomic.Int64 // unix nanoseconds: no blob file is rewritten before
	troubles                                      troubles
	opened                                        time.Time
	recovery                                      Recovery
}

// Recovery tells what Open had to do.
type Recovery struct {
	From, To Offset // the part of the log that was replayed
	Reach    Offset // nothing that Pebble had came from behind this offset
	Records  uint64
	Clean    bool // the last close was clean
	Took     time.Duration
}

// Open opens or creates the store in dir, replays the log, and starts its workers.
func Open(dir string, o Options) (*Store, error) {
	if err := o.ensureDefaults(); err != nil {
		return nil, err
	}
	s := newStore(dir, o)
	if err := s.open(); err != nil {
		s.abandon()
		return nil, err
	}
	s.startWorkers()
	return s, nil
}

func newStore(dir string, o Options) *Store {
	s := &Store{
		o:         o,
		dir:       dir,
		stop:      make(chan struct{}),
		flushed:   make(chan struct{}, 1),
		failedNow: make(chan struct{}),
		opened:    o.Now(),
	}
	s.records = newRecordTable(o.RecordCacheBytes)
	s.drains.wake = make(chan struct{}, 1)
	s.backlog.Store(o.LogBacklogBytes)
	s.reserve.Store(o.FreeSpaceReserve)
	s.packing.Store(&o.Packing)
	s.derived.limit = max(o.RecordCacheBytes, minRecordTable) / derivedShare
	s.dbs.Store(newDBTable())
	s.noteMapping(0)
	for i := range s.slots {
		s.slots[i].nextID, s.slots[i].storedID, s.slots[i].nextIDAtOpen = 1, 1, 1
	}
	return s
}

func (s *Store) open() (err error) {
	if s.lock, err = prepareFolder(s.dir, &s.o); err != nil {
		return err
	}
	join := s.o.FS.PathJoin
	s.log, err = wal.Open(join(s.dir, logFolder), wal.Options{
		FS:          s.o.FS,
		SegmentSize: s.o.LogSegmentBytes,
		Policy:      s.o.SyncPolicy,
		Prewrite:    s.o.FS == vfs.Default,
		ReadOnly:    s.o.ReadOnly,
		Foreign:     s.o.Follow,
		Logger:      s.o.Logger,
		OnFailure:   s.fail,
		Now:         s.o.Now,
	})
	if err != nil {
		return err
	}
	s.fs = &storeFS{FS: s.o.FS, log: s.log, ballast: join(s.dir, ballastFile), stop: make(chan struct{}), corrupt: s.noteCorrupt}
	if s.o.ReadOnly {
		s.fs.log = nil
		if s.fs.FS, err = newScratchFS(s.o.FS, join(s.dir, storeFolder)); err != nil {
			return err
		}
	}
	if err := s.openStore(join(s.dir, storeFolder)); err != nil {
		return err
	}
	if err := s.recover(); err != nil {
		return err
	}
	if s.o.ReadOnly {
		return nil
	}
	s.pollSpace()
	if s.o.Follow {
		s.following.Store(true)
		return nil
	}
	if err := DiscardIncoming(s.dir, s.o.FS); err != nil {
		return err
	}
	return s.log.BeginTerm(newReplicationID())
}

func (s *Store) openStore(dir string) error {
	err := s.lookAt(dir)
	if err == nil {
		s.db, err = s.openPebble(dir, s.pebbleOptions(s.fs))
	}
	if err != nil {
		return fmt.Errorf("opening %s: %w", dir, storeError(err))
	}
	return nil
}

// lookAt finds out what there is to know of the store in dir, if there is one, before it is opened.
func (s *Store) lookAt(dir string) error {
	s.comparer = comparer
	found, err := pebble.Peek(dir, s.fs)
	if errors.Is(err, iofs.ErrNotExist) || err == nil && !found.Exists {
		return nil
	}
	if err == nil {
		s.comparer, err = comparerOf(s.fs, found.OptionsFilename)
	}
	if err != nil {
		return err
	}
	return s.findBlobs(dir)
}

// openPebble opens Pebble, or gives up on it at the first error that is fatal to it: it
// would try again for ever, since its logger returns.
func (s *Store) openPebble(dir string, po *pebble.Options) (*pebble.DB, error) {
	type result struct {
		db  *pebble.DB
		err error
	}
	done := make(chan result, 1)
	go func() {
		db, err := pebble.Open(dir, po)
		done <- result{db, err}
	}()
	select {
	case r := <-done:
		return r.db, r.err
	case <-s.failedNow:
		s.fs.abandoned.Store(true)
		return nil, s.failed()
	}
}

func newReplicationID() string {
	var id [20]byte
	_, _ = rand.Read(id[:])
	return hex.EncodeToString(id[:])
}

// abandon gives back what a failed open holds.
func (s *Store) abandon() {
	s.closed.Store(true)
	if s.fs != nil {
		s.fs.close()
	}
	if s.db != nil {
		_ = s.db.Close()
	}
	if s.log != nil {
		_ = s.log.Close()
	}
	if s.lock != nil {
		_ = s.lock.Close()
	}
}

func (s *Store) startWorkers() {
	if s.o.ReadOnly {
		return
	}
	for _, run := range []func(){s.runMonitor, s.runLogDropper, s.runDrainer, s.runExpirer, s.runReclaimer, s.runSweeper} {
		s.workers.Add(1)
		go func() {
			defer s.workers.Done()
			run()
		}()
	}
}

// Close flushes, syncs and closes. Idempotent. Transactions that hold locks must end first: it waits for them.
func (s *Store) Close() error { return s.close(s.closeClean) }

// CloseUnflushed is Close for a store that is going to be replaced or rewound: what Pebble has not flushed
// stays in the log only.
func (s *Store) CloseUnflushed() error { return s.close(s.log.Sync) }

func (s *Store) close(settle func() error) error {
	if !s.closed.CompareAndSwap(false, true) {
		return nil
	}
	close(s.stop)
	s.workers.Wait()
	s.world.Lock()
	defer s.world.Unlock()
	s.life.Lock()
	defer s.life.Unlock()
	var err error
	if s.failed() == nil && !s.o.ReadOnly {
		err = settle()
	}
	s.fs.close()
	return errors.Join(err, s.db.Close(), s.log.Close(), s.releaseFolder())
}

func (s *Store) releaseFolder() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.Close()
}

// closeClean makes the next start quick: nothing to replay, and a summary of the counters. With a full disk it is left to the
// next start, since a flush is tried again until there is room.
func (s *Store) closeClean() error {
	if err := s.log.Sync(); err != nil || s.leaveToLog() {
		return err
	}
	if err := s.drain(); err != nil {
		return err
	}
	if err := s.db.Set(keys.SummaryKey, s.encodeSummary(), pebble.NoSync); err != nil {
		return storeError(err)
	}
	flushed, err := s.db.AsyncFlush()
	if err != nil {
		return storeError(err)
	}
	for {
		select {
		case <-flushed:
			s.dropLog()
			return nil
		case <-s.failedNow:
			return s.failed()
		case <-time.After(drainPoll):
			if s.leaveToLog() {
				return nil
			}
		}
	}
}

// leaveToLog says that the disk is full: all that is committed stands in the log.
func (s *Store) leaveToLog() bool {
	full := s.fs.full.Load()
	if full {
		s.o.Logger.Warn("store: stopping with a full disk: what is not in the store's files yet stays in the log, and the next start takes it from there")
	}
	return full
}

// fail puts the store into a state in which it takes nothing more, until it is opened again.
func (s *Store) fail(err error) {
	if !s.failure.CompareAndSwap(nil, &err) {
		return
	}
	if s.fs != nil {
		s.fs.failed.Store(true)
	}
	close(s.failedNow)
	s.o.Logger.Error("store: failed for good, every write is refused; open it again once the cause is gone", "err", err)
	if s.o.OnFailure != nil {
		go s.o.OnFailure(err)
	}
}

func (s *Store) failed() error {
	if p := s.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// Err returns why the store has failed for good, or nil.
func (s *Store) Err() error { return s.failed() }

// writable returns why no commit is possible, or nil.
func (s *Store) writable() error {
	if s.closed.Load() {
		return ErrClosed
	}
	if s.o.ReadOnly {
		return fmt.Errorf("%w: opened for reading only", ErrReadOnly)
	}
	if err := s.failed(); err != nil {
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	}
	return nil
}

func (s *Store) nowMillis() int64 { return s.o.Now().UnixMilli() }

// OnModify is called under the slot's lock for each user key written or deleted by a
// transaction (WATCH), with the physical database; name is valid during the call. The removal of an expired key is no
// modification. For FLUSHALL, FLUSHDB and SWAPDB it is called with name nil, once for each logical database affected,
// with the physical one that it stands for afterwards. Set once, before traffic. Nil costs nothing.
func (s *Store) OnModify(fn func(db uint8, name []byte)) { s.onModify = fn }

// OnExpire is called under the slot's lock when a key is removed whose time is over. Set once, before traffic.
func (s *Store) OnExpire(fn func(name []byte)) { s.onExpire = fn }

func (s *Store) modified(db uint8, name []byte) {
	if s.onModify != nil {
		s.onModify(db, name)
	}
}

// FlushLog hands everything committed to the operating system (one write) and, under appendfsync always and on a
// disk that is quick, to the disk; it returns the offset up to which the appendfsync policy now holds.
func (s *Store) FlushLog() (stable Offset, err error) { return s.log.FlushStable() }

// Stable is the offset up to which the appendfsync policy holds: replies that
// depend on no more than this may be sent.
func (s *Store) Stable() Offset { return s.log.Stable() }

// End is the offset behind everything committed: what a read of the whole store depends on.
func (s *Store) End() Offset { return s.log.End() }

// OnStable calls fn once, from another goroutine, when Stable reaches off or the log has failed for good.
func (s *Store) OnStable(off Offset, fn func(error)) { s.log.OnStable(off, fn) }

// WaitStable blocks until Stable reaches off.
func (s *Store) WaitStable(ctx context.Context, off Offset) error { return s.log.WaitStable(ctx, off) }

// Log is the store's log, for reading it and its terms. Only the store appends.
func (s *Store) Log() *wal.Log { return s.log }

// SetSyncPolicy changes appendfsync.
func (s *Store) SetSyncPolicy(p wal.Policy) { s.log.SetPolicy(p) }

// SetLogBacklog changes how much of the log is kept although a restart does not need it.
func (s *Store) SetLogBacklog(bytes uint64) { s.backlog.Store(bytes) }

// SetFreeSpaceReserve changes the room on the disk below which writes are refused.
func (s *Store) SetFreeSpaceReserve(bytes uint64) {
	s.reserve.Store(bytes)
	s.pollSpace()
}

// Flush writes memtables to disk and syncs everything (SAVE, BGSAVE, BGREWRITEAOF).
func (s *Store) Flush(ctx context.Context) error {
	s.life.RLock()
	defer s.life.RUnlock()
	if err := s.writable(); err != nil {
		return err
	}
	if err := s.log.Sync(); err != nil {
		return err
	}
	if err := s.drain(); err != nil {
		return err
	}
	done, err := s.db.AsyncFlush()
	if err != nil {
		return storeError(err)
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.stop:
		return ErrClosed
	}
}
