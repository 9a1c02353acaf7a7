package log

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Limits of one record.
const (
	// MaxRecordSize is the greatest length of a record, header and slots included.
	MaxRecordSize = 1 << 31
	// MaxSlots is the greatest number of slots that a record names.
	MaxSlots = 16384
)

// Policy says when a record counts as stable (Redis's appendfsync).
type Policy int32

// The policies.
const (
	Always   Policy = iota // stable once it is on the disk
	EverySec               // stable once the operating system has it; synced in the background at least each second
	No                     // stable once the operating system has it; synced when the system sees fit
)

var policyNames = [...]string{"always", "everysec", "no"}

// String is the policy's name in the configuration.
func (p Policy) String() string {
	if p < 0 || int(p) >= len(policyNames) {
		return fmt.Sprintf("Policy(%d)", int32(p))
	}
	return policyNames[p]
}

// ParsePolicy is the inverse of String.
func ParsePolicy(s string) (p Policy, ok bool) {
	for i, name := range policyNames {
		if s == name {
			return Policy(i), true
		}
	}
	return 0, false
}

// Kind says what a record's payload is.
type Kind uint8

// The kinds. The log itself understands only KindTerm.
const (
	KindBatch    Kind = 1 // a committed batch
	KindTerm     Kind = 2 // the start of a term: its replication ID
	KindFlushAll Kind = 3 // the removal of everything
)

// Record is what a Cursor returns.
type Record struct {
	Kind       Kind
	Start, End uint64 // log offsets of the record's first byte and of the byte after its last
	Synced     uint64 // the offset known synced when the record was appended
	WallMillis int64  // unix milliseconds when it was appended
	Slots      []uint16
	Payload    []byte
}

// Term is a period under one primary. A term's records are those from Start to
// the next term's Start.
type Term struct {
	ID    string // replication ID, 40 hex digits
	Start uint64 // offset of the record that began it
}

// Options configure a log. The zero value of each field means its default.
type Options struct {
	// FS holds the segments; vfs.Default if nil. It must allow a sync of a file while
	// the file is written, as an operating system does.
	FS vfs.FS
	// SegmentSize is the room for records in a segment, 64 MiB by default. It
	// may change between two runs.
	SegmentSize int64
	// BufferSize bounds what waits in memory to be written, 1 MiB by default:
	// beyond it Append writes first. A record larger than this is held whole.
	BufferSize int
	// Policy at the start; see SetPolicy.
	Policy Policy
	// SyncInterval is the pause between background syncs under EverySec,
	// 500 ms by default, so that with the sync itself it stays within a second.
	SyncInterval time.Duration
	// Prewrite fills segments with zeros before they are used under Always, which makes each
	// sync quicker on a file system that writes in place.
	Prewrite bool
	// ReadOnly opens the log to read and check it: nothing in the folder is
	// changed, a torn tail is left out but not cut.
	ReadOnly bool
	// Foreign: the records are another node's, see SetForeign.
	Foreign bool
	// Logger gets one line for everything an operator should know; discarded if nil.
	Logger *slog.Logger
	// OnFailure is called once, by a goroutine of the log, when a sync has
	// failed and the log takes nothing more. It must not call Close.
	OnFailure func(error)
	// Now is the clock for Record.WallMillis; time.Now if nil.
	Now func() time.Time
}

func (o *Options) setDefaults() {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.SegmentSize <= 0 {
		o.SegmentSize = 64 << 20
	}
	if o.BufferSize <= 0 {
		o.BufferSize = 1 << 20
	}
	if o.SyncInterval <= 0 {
		o.SyncInterval = 500 * time.Millisecond
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Log is an open log. All methods may be called by any goroutine.
type Log struct {
	o   Options
	fs  vfs.FS
	dir string

	// Offsets: start <= synced <= written <= end. Written under mu, read by anyone.
	start, synced, written, end atomic.Uint64
	policy                      atomic.Int32
	lastSync                    atomic.Int64              // how long the last sync took, in ns
	syncBegan                   atomic.Pointer[time.Time] // when the sync that runs now began
	delayed                     atomic.Uint64             // see Stats.Delayed
	trouble                     atomic.Pointer[trouble]   // see Err

	// syncMu is held by whoever syncs or writes the state file.
	syncMu sync.Mutex
	// noted is the newest segment that the state file names, or noSegment. Under syncMu.
	noted uint64

	mu sync.Mutex
	// cond is signalled when writing, preparing or trouble changes.
	cond sync.Cond
	// buf holds the records from written on, or, while somebody writes, those
	// behind the ones being written. It never holds records of two segments.
	buf []byte
	// spare is the buffer that was written last.
	spare []byte
	// kept is what a failed write could not write: the bytes from written on, before buf.
	kept      []byte
	writing   bool
	link      uint32 // crc of the last record appended
	segs      []*segment
	next      *segment // made ahead, has no header and no final name yet
	preparing bool
	nextTry   time.Time // when to make it after that has failed
	terms     []Term
	unsaved   bool // terms or segs has changed since the state file was written
	closed    bool // takes no more records
	shut      bool // files are closed
	foreign   bool // see SetForeign
	holds     []*Hold
	counters  Stats

	waiters   waiters // for Stable
	followers waiters // for Written

	// Making a segment ahead takes as long as the disk wants, so it holds up no callbacks: the keeper makes, the caller calls.
	wakeSyncer, wakeKeeper, wakeCaller chan struct{}
	quit                               chan struct{}
	goroutines                         sync.WaitGroup
	closeOnce                          sync.Once
	closeErr                           error
}

// Open opens the log in dir, which it creates if needed, and finds its end. A
// torn tail, that is damage at or after the greatest offset known synced, is cut. Damage
// before it is a *DamagedError.
func Open(dir string, o Options) (*Log, error) {
	o.setDefaults()
	l := &Log{
		o:          o,
		fs:         o.FS,
		dir:        dir,
		wakeSyncer: make(chan struct{}, 1),
		wakeKeeper: make(chan struct{}, 1),
		wakeCaller: make(chan struct{}, 1),
		quit:       make(chan struct{}),
	}
	l.cond.L = &l.mu
	l.policy.Store(int32(o.Policy))
	if !o.ReadOnly {
		if err := createDir(l.fs, dir); err != nil {
			return nil, fileError(err)
		}
	}
	r := &recovery{fs: l.fs, dir: dir, readOnly: o.ReadOnly}
	if err := r.scan(); err != nil {
		return nil, err
	}
	if r.torn {
		o.Logger.Warn("log has a torn tail", "dir", dir, "end", r.end, "synced", r.synced, "cut", !o.ReadOnly)
	}
	l.adopt(r)
	if o.ReadOnly {
		l.trouble.Store(&trouble{err: ErrReadOnly})
		l.waiters.close(r.end)
		l.followers.close(r.end)
		return l, nil
	}
	if err := l.makeWritable(r); err != nil {
		l.closeFiles()
		return nil, err
	}
	if err := l.SetForeign(o.Foreign); err != nil {
		l.closeFiles()
		return nil, err
	}
	for _, run := range []func(){l.runSyncer, l.runKeeper, l.runCaller} {
		l.goroutines.Add(1)
		go func() {
			defer l.goroutines.Done()
			run()
		}()
	}
	return l, nil
}

// createDir makes dir, durably.
func createDir(fs vfs.FS, dir string) error {
	if _, err := fs.Stat(dir); err == nil {
		return nil
	}
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return syncDir(fs, fs.PathDir(dir))
}

// adopt takes over what recovery has found.
func (l *Log) adopt(r *recovery) {
	for i := range r.segs[:r.last+1] {
		f := &r.segs[i]
		used := int64(r.end - f.start)
		if i < r.last {
			used = int64(r.segs[i+1].start - f.start)
		}
		l.segs = append(l.segs, &segment{start: f.start, room: used, named: true, sealed: true})
	}
	l.link, l.terms, l.noted = r.link, r.terms, r.state.newest
	l.foreign = r.last >= 0 && r.segs[r.last].header.foreign
	if len(r.segs) > 0 {
		l.start.Store(r.segs[0].start)
	}
	for _, off := range []*atomic.Uint64{&l.synced, &l.written, &l.end} {
		off.Store(r.end)
	}
}

// makeWritable cuts the torn tail, makes what was read durable (after the
// process was killed the operating system may still hold it), and opens the last segment.
func (l *Log) makeWritable(r *recovery) error {
	if err := r.repair(); err != nil {
		return err
	}
	if r.last < 0 {
		return l.beginFirstSegment()
	}
	for i := r.first; i <= r.last; i++ {
		file, err := l.fs.OpenReadWrite(r.segs[i].name, vfs.WriteCategoryUnspecified)
		if err != nil {
			return fileError(err)
		}
		l.segs[i].file = file
		if err := file.Sync(); err != nil {
			return fmt.Errorf("log: syncing %s: %w", r.segs[i].name, err)
		}
		if i < r.last {
			l.segs[i].file = nil
			if err := file.Close(); err != nil {
				return fileError(err)
			}
		}
	}
	if err := syncDir(l.fs, l.dir); err != nil {
		return fileError(err)
	}
	active := l.active()
	active.sealed = false
	if err := active.reserve(max(active.room, l.o.SegmentSize)); err != nil {
		// It can be read, and written again as soon as there is room.
		l.setNoRoom(err)
		return nil
	}
	return l.prewriteActive(r.end)
}

// beginFirstSegment makes a new log.
func (l *Log) beginFirstSegment() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.foreign = l.o.Foreign
	if err := l.beginSegment(0); err != nil {
		return err
	}
	if err := l.syncSegments(l.segs); err != nil {
		return fileError(err)
	}
	l.active().named = true
	return l.prewriteActive(0)
}

func (l *Log) prewrites() bool { return l.o.Prewrite && l.Policy() == Always }

// prewriteActive makes the syncs in the segment that the log begins with quick, see segment.prewrite.
func (l *Log) prewriteActive(from uint64) error {
	if !l.prewrites() {
		return nil
	}
	return l.active().prewrite(from, nil)
}

func (l *Log) active() *segment { return l.segs[len(l.segs)-1] }

// Start is the offset of the first record that the log still has.
func (l *Log) Start() uint64 { return l.start.Load() }

// End is the offset after the last record appended.
func (l *Log) End() uint64 { return l.end.Load() }

// Written is the offset up to which the operating system has everything.
func (l *Log) Written() uint64 { return l.written.Load() }

// Synced is the offset up to which everything is on the disk.
func (l *Log) Synced() uint64 { return l.synced.Load() }

// Policy returns the policy in force.
func (l *Log) Policy() Policy { return Policy(l.policy.Load()) }

// SetPolicy changes the policy at once.
func (l *Log) SetPolicy(p Policy) {
	l.policy.Store(int32(p))
	wake(l.wakeSyncer)
	wake(l.wakeCaller)
}

// BeginTerm appends a record that starts a new term, makes it durable, and adds
// it to the history. id is the replication ID, 40 hex digits.
func (l *Log) BeginTerm(id string) error {
	if !validID(id) {
		return fmt.Errorf("log: %q is not a replication ID", id)
	}
	end, err := l.Append(KindTerm, nil, []byte(id))
	if err != nil {
		return err
	}
	size, _ := recordSize(nil, [][]byte{[]byte(id)})
	l.mu.Lock()
	l.terms = mergeTerms(l.terms, Term{ID: id, Start: end - uint64(size)})
	l.unsaved = true
	l.mu.Unlock()
	if err := l.Sync(); err != nil {
		return err
	}
	if err := l.saveUnsaved(); err != nil {
		// The record stands, so the term has begun.
		l.warnUnsaved(err)
	}
	return nil
}

// saveUnsaved writes the state file if what it tells has changed. Caller: BeginTerm, the syncer, Close.
func (l *Log) saveUnsaved() error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.mu.Lock()
	unsaved := l.unsaved
	l.mu.Unlock()
	if !unsaved {
		return nil
	}
	return l.saveState(l.synced.Load())
}

// saveState writes the state file. Everything before synced is. Caller holds syncMu.
func (l *Log) saveState(synced uint64) error {
	l.mu.Lock()
	s := state{synced: synced, newest: l.newestNamed(), terms: slices.Clone(l.terms)}
	l.unsaved = false
	l.mu.Unlock()
	err := saveState(l.fs, l.dir, s)
	if err != nil {
		l.mu.Lock()
		l.unsaved = true
		l.mu.Unlock()
		return err
	}
	l.noted = s.newest
	return nil
}

// newestNamed is the start of the newest segment whose name and header are synced. Caller holds mu.
func (l *Log) newestNamed() uint64 {
	for i := len(l.segs) - 1; i >= 0; i-- {
		if l.segs[i].named {
			return l.segs[i].start
		}
	}
	return noSegment
}

// warnUnsaved: nothing depends on the state file so far; the syncer tries again.
func (l *Log) warnUnsaved(err error) {
	l.o.Logger.Warn("log can't save its state file yet", "dir", l.dir, "err", err)
}

// Terms returns the history of terms, oldest first. It outlives the segments.
func (l *Log) Terms() []Term {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.terms)
}

// term is the one in force at an offset. Caller holds mu.
func (l *Log) term() Term {
	if len(l.terms) == 0 {
		return Term{}
	}
	return l.terms[len(l.terms)-1]
}

// Drop deletes the segments that end at or before the offset, and at or before every Hold. The last segment stays.
func (l *Log) Drop(before uint64) error {
	if l.o.ReadOnly {
		return ErrReadOnly
	}
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	for {
		l.mu.Lock()
		if l.shut || !l.canDropFirst(l.held(before)) {
			l.mu.Unlock()
			return nil
		}
		name := l.segmentPath(l.segs[0].start)
		l.segs = slices.Delete(l.segs, 0, 1)
		l.start.Store(l.segs[0].start)
		l.mu.Unlock()
		if err := removeIfExists(l.fs, name); err != nil {
			return fileError(err)
		}
		if err := syncDir(l.fs, l.dir); err != nil {
			return fileError(err)
		}
	}
}

// canDropFirst: what is left must be able to stand alone after a crash, see segment.sealed. Caller holds mu.
func (l *Log) canDropFirst(before uint64) bool {
	return len(l.segs) > 1 && l.segs[0].sealed && l.segs[1].start <= before
}

func (l *Log) segmentPath(start uint64) string { return l.fs.PathJoin(l.dir, segmentName(start)) }

// Close writes and syncs everything, and ends the log's goroutines. Idempotent.
func (l *Log) Close() error {
	l.closeOnce.Do(func() { l.closeErr = l.close() })
	return l.closeErr
}

func (l *Log) close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	var err error
	if !l.o.ReadOnly {
		err = l.Sync()
		if errors.Is(err, ErrStalled) && l.Recover() == nil {
			err = l.Sync()
		}
		close(l.quit)
		l.goroutines.Wait()
		if err == nil {
			l.mu.Lock()
			l.unsaved = true // the offset synced is news
			l.mu.Unlock()
			err = l.saveUnsaved()
		}
	}
	l.waiters.close(l.Stable())
	l.followers.close(l.Written())
	return errors.Join(err, l.closeFiles())
}

func (l *Log) closeFiles() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shut = true
	var errs []error
	for _, s := range l.segs {
		if s.file != nil {
			errs = append(errs, s.file.Close())
			s.file = nil
		}
	}
	if l.next != nil {
		errs = append(errs, l.next.file.Close(), l.fs.Remove(l.fs.PathJoin(l.dir, nextName)))
		l.next = nil
	}
	return errors.Join(errs...)
}

// Stats is a snapshot of the log's counters.
type Stats struct {
	Start, End, Written, Synced uint64
	Policy                      Policy
	Segments                    int
	DiskBytes                   int64 // room that the segments take
	Buffered                    int   // bytes not yet written
	Records                     uint64
	Writes                      uint64 // write calls
	Syncs                       uint64
	SyncTime                    time.Duration // in all syncs
	LastSync                    time.Duration // of the last sync
	MaxSync                     time.Duration // of the longest
	Delayed                     uint64        // times that somebody had to wait for a slow sync under EverySec
	Stalled                     bool          // see ErrStalled
	Failed                      bool          // see ErrFailed
}

// Stats returns a snapshot.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.counters
	s.Start, s.End, s.Written, s.Synced = l.Start(), l.End(), l.Written(), l.Synced()
	s.Policy = l.Policy()
	s.Delayed = l.delayed.Load()
	s.Segments = len(l.segs)
	for _, seg := range l.segs {
		s.DiskBytes += segmentHeaderSize + seg.room
	}
	if l.next != nil {
		s.DiskBytes += segmentHeaderSize + l.next.room
	}
	s.Buffered = int(s.End - s.Written)
	err := l.Err()
	s.Stalled, s.Failed = errors.Is(err, ErrStalled), errors.Is(err, ErrFailed)
	return s
}
