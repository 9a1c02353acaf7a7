package engine

import (
	"io"
	iofs "io/fs"
	"os"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// scratchFS reads from a file system and writes to memory, so that a store that is opened for reading only can
// replay its log. Nothing on the disk changes.
type scratchFS struct {
	vfs.FS // the disk
	mem    vfs.FS

	mu   sync.Mutex
	gone map[string]bool // removed: no longer seen although on the disk
}

func newScratchFS(disk vfs.FS, dir string) (*scratchFS, error) {
	fs := &scratchFS{FS: disk, mem: vfs.NewMem(), gone: map[string]bool{}}
	return fs, fs.mem.MkdirAll(dir, 0o755)
}

// of returns the file system that holds a file.
func (fs *scratchFS) of(name string) (vfs.FS, error) {
	if _, err := fs.mem.Stat(name); err == nil {
		return fs.mem, nil
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.gone[name] {
		return nil, &iofs.PathError{Op: "open", Path: name, Err: iofs.ErrNotExist}
	}
	return fs.FS, nil
}

func (fs *scratchFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.mem.Create(name, c)
}

func (fs *scratchFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.of(name)
	if err != nil {
		return nil, err
	}
	return f.Open(name, opts...)
}

func (fs *scratchFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return fs.mem.OpenReadWrite(name, c, opts...)
}

func (fs *scratchFS) OpenDir(name string) (vfs.File, error) { return fs.mem.OpenDir(name) }

func (fs *scratchFS) Remove(name string) error {
	f, err := fs.of(name)
	if err != nil {
		return err
	}
	if f == fs.mem {
		err = fs.mem.Remove(name)
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.gone[name] = true
	return err
}

func (fs *scratchFS) Rename(oldname, newname string) error { return fs.mem.Rename(oldname, newname) }

func (fs *scratchFS) ReuseForWrite(_, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.mem.Create(newname, c)
}

func (fs *scratchFS) MkdirAll(dir string, perm os.FileMode) error { return fs.mem.MkdirAll(dir, perm) }

func (fs *scratchFS) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

func (fs *scratchFS) List(dir string) ([]string, error) {
	names, err := fs.FS.List(dir)
	if err != nil {
		return nil, err
	}
	fs.mu.Lock()
	names = slices.DeleteFunc(names, func(n string) bool { return fs.gone[fs.PathJoin(dir, n)] })
	fs.mu.Unlock()
	if mine, err := fs.mem.List(dir); err == nil {
		names = append(names, mine...)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func (fs *scratchFS) Stat(name string) (vfs.FileInfo, error) {
	f, err := fs.of(name)
	if err != nil {
		return nil, err
	}
	return f.Stat(name)
}

// Link is not needed: nothing is copied out of a store that is opened for reading only.
func (fs *scratchFS) Link(oldname, _ string) error {
	return &iofs.PathError{Op: "link", Path: oldname, Err: iofs.ErrPermission}
}

// RemoveAll: see Link.
func (fs *scratchFS) RemoveAll(name string) error {
	return &iofs.PathError{Op: "removeall", Path: name, Err: iofs.ErrPermission}
}

// Unwrap is part of vfs.FS.
func (fs *scratchFS) Unwrap() vfs.FS { return fs.FS }
