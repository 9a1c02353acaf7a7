package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairndb/cairn/engine/keys"
)

// comparer orders keys bytewise; Bloom filters hold whole keys, those of elements too: most look-ups of these find nothing. Its name
// is stored in every file and can't change.
var comparer = func() *pebble.Comparer {
	c := *pebble.DefaultComparer
	c.Name = "cairn.v2"
	return &c
}()

// firstComparer is that of stores which were made before there were collections, and which keep it: filters hold keys.Split of a key.
var firstComparer = func() *pebble.Comparer {
	c := *pebble.DefaultComparer
	c.Name = "cairn.v1"
	c.Split = keys.Split
	c.ImmediateSuccessor = keys.ImmediateSuccessor
	c.ComparePointSuffixes = bytes.Compare
	return &c
}()

// comparerOf returns the comparer that the options file of a store names.
func comparerOf(fs vfs.FS, optionsFile string) (*pebble.Comparer, error) {
	if optionsFile == "" {
		return comparer, nil
	}
	f, err := fs.Open(optionsFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if bytes.Contains(b, []byte("comparer="+firstComparer.Name+"\n")) {
		return firstComparer, err
	}
	return comparer, err
}

// pebbleOptions are settings for this use, found by measuring: no WAL, large memtables, small blocks,
// Bloom filters everywhere, early compaction of level 0.
func (s *Store) pebbleOptions(fs vfs.FS) *pebble.Options {
	o := &s.o
	po := &pebble.Options{
		FS:                          fs,
		Comparer:                    s.comparer,
		FormatMajorVersion:          pebble.FormatNewest,
		DisableWAL:                  true,
		DisableAutomaticCompactions: o.ReadOnly,
		CacheSize:                   o.CacheBytes,
		MaxOpenFiles:                o.MaxOpenFiles,
		MemTableSize:                uint64(o.MemTableBytes),
		// Admission control stops writers before Pebble would, which waits under locks.
		MemTableStopWritesThreshold: 2*o.MemTables + 8,
		L0StopWritesThreshold:       10 * o.L0Sublevels,
		L0CompactionThreshold:       8,
		LBaseMaxBytes:               max(16*o.MemTableBytes, 1<<20),
		BytesPerSync:                1 << 20,
		FlushDelayDeleteRange:       10 * time.Second,
		CompactionConcurrencyRange:  func() (int, int) { return 1, o.Compactions },
		Logger:                      pebbleLogger{s},
		EventListener:               s.events(),
	}
	po.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return compressions[o.Compression] })
	po.Experimental.SpanPolicyFunc = spanPolicy
	po.Experimental.ValueSeparationPolicy = s.separation
	// What separated values take is counted.
	po.TargetFileSizes = [...]int64{32 << 20, 8 << 20, 16 << 20, 32 << 20, 64 << 20, 64 << 20, 64 << 20}
	for i := range po.Levels {
		po.Levels[i].BlockSize = 8 << 10
		// A new key is looked up in every sublevel and level: each false positive is a read from the disk.
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(16)
		po.Levels[i].FilterType = pebble.TableFilter
	}
	// The blob files that flushes write take it, too: a look-up reads one such block.
	po.Levels[0].BlockSize = 4 << 10
	// Most keys are in the last level: one look, and memory for all.
	po.Levels[len(po.Levels)-1].FilterPolicy = bloom.FilterPolicy(10)
	return po
}

// spanPolicy keeps what is the node's own apart from the slots in files: each flush writes it, and a file of both would reach from some key to
// the end of all and overlap all that lies between, so that a list which grows at an end would be compacted again and again.
func spanPolicy(start []byte) (policy pebble.SpanPolicy, end []byte, err error) {
	policy.DisableValueSeparationBySuffix = true
	if bytes.Compare(start, keys.NodePrefix) < 0 {
		end = keys.NodePrefix
	}
	return policy, end, nil
}

// events logs what an operator should know and wakes whoever waits for a flush.
func (s *Store) events() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			s.backgroundErrors.Add(1)
			if s.troubles.due("", time.Now()) {
				s.o.Logger.Warn("store: background work failed and is tried again", "err", err)
			}
		},
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			s.noteCorrupt(i.Path, i.Details)
		},
		FlushEnd: func(i pebble.FlushInfo) {
			s.o.Logger.Debug("store: flush", "err", i.Err, "took", i.TotalDuration)
			if i.Err == nil {
				select {
				case s.flushed <- struct{}{}:
				default:
				}
			}
		},
		CompactionEnd: func(i pebble.CompactionInfo) {
			s.o.Logger.Debug("store: compaction", "reason", i.Reason, "err", i.Err, "took", i.TotalDuration)
		},
		BlobFileRewriteBegin: s.rewriteBegins,
		BlobFileRewriteEnd:   s.rewriteEnds,
		WriteStallBegin: func(i pebble.WriteStallBeginInfo) {
			s.o.Logger.Warn("store: writes stall", "reason", i.Reason)
		},
	}
}

// troubles says what was logged lately: who reads what is damaged, and Pebble's compactions, may try again at once and for ever.
type troubles struct {
	mu   sync.Mutex
	last map[string]time.Time
}

// due reports whether trouble with what should be logged, as it is once a minute.
func (l *troubles) due(what string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last, ok := l.last[what]; ok && now.Sub(last) < troublePause {
		return false
	}
	if l.last == nil {
		l.last = map[string]time.Time{}
	}
	l.last[what] = now
	return true
}

// noteCorrupt counts that a damaged file of the store was met, and logs it.
func (s *Store) noteCorrupt(path string, err error) {
	s.corruptions.Add(1)
	if s.troubles.due(path, time.Now()) {
		s.o.Logger.Error("store: corrupt file", "path", path, "err", err)
	}
}

// pebbleLogger passes on what Pebble says. After a fatal error Pebble does nothing more to its files, and neither
// do we: the log holds all that was committed, so the next start loses nothing.
type pebbleLogger struct{ s *Store }

func (l pebbleLogger) Infof(format string, args ...any) {
	if l.s.o.Logger.Enabled(context.Background(), slog.LevelDebug) {
		l.s.o.Logger.Debug("pebble: " + fmt.Sprintf(format, args...))
	}
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.s.o.Logger.Warn("pebble: " + fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Fatalf(format string, args ...any) {
	err := fmt.Errorf("pebble: "+format, args...)
	for _, a := range args {
		if cause, ok := a.(error); ok {
			err = fmt.Errorf("pebble: %w", cause)
		}
	}
	l.s.fail(err)
}

// storeError translates an error of Pebble.
func storeError(err error) error {
	switch {
	case errors.Is(err, ErrCorrupt):
		return err
	case pebble.IsCorruptionError(err):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	case errors.Is(err, pebble.ErrClosed):
		return ErrClosed
	}
	return fmt.Errorf("engine: %w", err)
}

// pointReads are the options of a look-up. Pebble's Get leaves out the Bloom filters of the last level, which hold most keys:
// each SET of a new key would read a block from there.
var pointReads = pebble.IterOptions{UseL6Filters: true, KeyTypes: pebble.IterKeyTypePointsOnly}

// read returns the stored value of a key, valid until closer is closed. If it is absent, closer is nil.
func (s *Store) read(key []byte) (value []byte, closer io.Closer, err error) {
	if s.closed.Load() {
		return nil, nil, ErrClosed
	}
	start := time.Now()
	defer func() { s.reads.note(time.Since(start)) }()
	it, err := s.db.NewIter(&pointReads)
	if err != nil {
		return nil, nil, storeError(err)
	}
	if it.SeekPrefixGE(key) && bytes.Equal(it.Key(), key) {
		if value, err = it.ValueAndErr(); err == nil {
			return value, it, nil
		}
	}
	if closeErr := it.Close(); err == nil { // otherwise it says the same
		err = closeErr
	}
	if err != nil {
		return nil, nil, storeError(err)
	}
	return nil, nil, nil
}
