package engine

import (
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	wal "github.com/cairndb/cairn/engine/log"
)

// storeFS is the file system that Pebble works on. It keeps five promises:
//
//   - The log is synced before every write to a MANIFEST, so that what Pebble has after a crash is
//     never ahead of the log. Before its sync would be too late: the operating system may
//     write a page to the disk as soon as it has it.
//   - The name of a new MANIFEST is durable before Pebble's marker can name it: Pebble syncs the
//     folder only after it has created the marker, and the two names may reach the disk in any order.
//   - A full disk does not fail a MANIFEST write, which would end Pebble: the
//     ballast file gives it room.
//   - Pebble retries a failed flush or compaction at once and for ever: an error
//     here takes a while, so that it does not spin.
//   - Damage to a blob file is an error and does not end the process: see blobs.go. Nor does one that can't be written: see outputs.go.
type storeFS struct {
	vfs.FS
	log     *wal.Log // nil when the store is opened for reading only
	ballast string
	// full is set when a write found the disk full, until the space guard sees room again.
	full atomic.Bool
	// stop ends the wait for the log when the store closes; failed makes every write fail.
	stop     chan struct{}
	stopOnce sync.Once
	failed   atomic.Bool
	// abandoned: Open has given up on a Pebble that retries for ever to open.
	abandoned atomic.Bool
	// corrupt is told of a damaged blob file; rewriting is the one that Pebble rewrites.
	corrupt   func(path string, err error)
	rewriting atomic.Pointer[string]
	// See outputs.go: how many blob files could not be finished, and whether the one that Pebble is rewriting could not.
	blobsFailed atomic.Uint64
	badRewrite  atomic.Bool
}

var errStoreFailed = errors.New("engine: the store has failed and writes no more files")

const errorPause = 100 * time.Millisecond

func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, wal.ErrNoSpace)
}

// check looks at the outcome of a write.
func (fs *storeFS) check(err error) error {
	if err == nil {
		return nil
	}
	if isDiskFull(err) {
		fs.full.Store(true)
	}
	time.Sleep(errorPause)
	return err
}

// refuse returns an error if nothing may be written any more.
func (fs *storeFS) refuse() error {
	if fs.abandoned.Load() {
		select {} // nobody waits for it, and there is no other way to make Pebble stop
	}
	if fs.failed.Load() {
		time.Sleep(errorPause)
		return errStoreFailed
	}
	return nil
}

// Lock locks nothing: the whole data folder is locked.
func (fs *storeFS) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

func (fs *storeFS) close() { fs.stopOnce.Do(func() { close(fs.stop) }) }

func (fs *storeFS) wrap(name string, f vfs.File, c vfs.DiskWriteCategory, err error) (vfs.File, error) {
	if err != nil {
		return nil, fs.check(err)
	}
	if fs.isManifest(name) {
		return &manifestFile{File: f, fs: fs}, nil
	}
	return fs.output(name, f, c), nil
}

func (fs *storeFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := fs.refuse(); err != nil {
		return nil, err
	}
	if c == rewriteCategory {
		if err := fs.beforeRewrite(); err != nil {
			return nil, err
		}
	}
	f, err := fs.FS.Create(name, c)
	if err == nil && fs.isManifest(name) {
		if err := syncDir(fs.FS, fs.PathDir(name)); err != nil {
			_ = f.Close()
			return nil, fs.check(err)
		}
	}
	return fs.wrap(name, f, c, err)
}

func (fs *storeFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if strings.HasSuffix(name, blobSuffix) {
		f, err := fs.openBlob(name, opts)
		if err != nil {
			return nil, err
		}
		return f, nil
	}
	return fs.FS.Open(name, opts...)
}

func (fs *storeFS) isManifest(name string) bool {
	return strings.HasPrefix(fs.PathBase(name), "MANIFEST-")
}

func (fs *storeFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.OpenReadWrite(name, c, opts...)
	return fs.wrap(name, f, c, err)
}

func (fs *storeFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.ReuseForWrite(oldname, newname, c)
	return fs.wrap(newname, f, c, err)
}

// Unwrap is part of vfs.FS.
func (fs *storeFS) Unwrap() vfs.FS { return fs.FS }

// syncLog makes the log durable. While the log waits for room on the disk, so does Pebble's flush.
func (fs *storeFS) syncLog() error {
	for fs.log != nil {
		err := fs.log.Sync()
		if !errors.Is(err, wal.ErrStalled) {
			return err
		}
		select {
		case <-fs.stop:
			return err
		case <-time.After(errorPause):
		}
	}
	return nil
}

type guardedFile struct {
	vfs.File
	fs *storeFS
}

func (f *guardedFile) Write(p []byte) (int, error) {
	if err := f.fs.refuse(); err != nil {
		return 0, err
	}
	n, err := f.File.Write(p)
	return n, f.fs.check(err)
}

func (f *guardedFile) Sync() error { return f.fs.check(f.File.Sync()) }

type manifestFile struct {
	vfs.File
	fs *storeFS
}

func (f *manifestFile) Write(p []byte) (int, error) {
	if err := f.fs.refuse(); err != nil {
		return 0, err
	}
	if err := f.fs.syncLog(); err != nil {
		return 0, err
	}
	n, err := f.File.Write(p)
	if err == nil || !isDiskFull(err) {
		return n, err
	}
	f.fs.full.Store(true)
	if rmErr := f.fs.Remove(f.fs.ballast); rmErr != nil {
		return n, err
	}
	m, err := f.File.Write(p[n:])
	return n + m, err
}
