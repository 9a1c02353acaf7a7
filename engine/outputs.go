package engine

import (
	"errors"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Pebble (2.1.7) ends the process when the last bytes of a new blob file can't be written or synced: it gives the file up, and then once more. It can't be
// known here which bytes are the last ones. So it is never told: the table that was being written together with the file can't be finished
// instead; and where a blob file is rewritten, without a table, the folder can't be synced until that has been given up (Store.rewriteEnds).

const tableSuffix = ".sst"

var errBlobUnfinished = errors.New("engine: a file of values could not be finished")

// output returns what Pebble writes a new table or blob file by.
func (fs *storeFS) output(name string, f vfs.File, c vfs.DiskWriteCategory) vfs.File {
	g := guardedFile{File: f, fs: fs}
	switch {
	case strings.HasSuffix(name, blobSuffix):
		return &blobOutput{guardedFile: g, rewrite: c == rewriteCategory}
	case strings.HasSuffix(name, tableSuffix):
		return &tableOutput{guardedFile: g, before: fs.blobsFailed.Load()}
	}
	return &g
}

// blobOutput is a blob file that is being written.
type blobOutput struct {
	guardedFile
	rewrite bool
	err     error
}

func (f *blobOutput) Write(p []byte) (int, error) {
	if f.err == nil {
		_, f.err = f.guardedFile.Write(p)
	}
	return len(p), nil
}

func (f *blobOutput) SyncTo(length int64) (fullSync bool, err error) {
	if f.err == nil {
		_, f.err = f.File.SyncTo(length)
	}
	return false, nil
}

func (f *blobOutput) Sync() error     { return f.end(f.File.Sync) }
func (f *blobOutput) SyncData() error { return f.end(f.File.SyncData) }
func (f *blobOutput) Close() error    { return f.end(f.File.Close) }

// end does one of the last things, and sees to it that Pebble does not go by the file if any of it has failed.
func (f *blobOutput) end(do func() error) error {
	err := do()
	if f.err == nil {
		f.err = f.fs.check(err)
	}
	switch {
	case f.err == nil:
	case f.rewrite:
		f.fs.badRewrite.Store(true)
	default:
		f.fs.blobsFailed.Add(1)
	}
	return nil
}

// tableOutput is a table that is being written. It can't be finished if a blob file has failed meanwhile, which may be its own.
type tableOutput struct {
	guardedFile
	before uint64 // blob files that had failed when it was created
}

func (f *tableOutput) Sync() error     { return f.end(f.File.Sync) }
func (f *tableOutput) SyncData() error { return f.end(f.File.SyncData) }

func (f *tableOutput) end(do func() error) error {
	if f.fs.blobsFailed.Load() != f.before {
		return f.fs.check(errBlobUnfinished)
	}
	return f.fs.check(do())
}

// folder is the store's folder, which Pebble syncs before it goes by a file in it.
type folder struct {
	vfs.File
	fs *storeFS
}

func (f *folder) Sync() error {
	if f.fs.badRewrite.Load() {
		return f.fs.check(errBlobUnfinished)
	}
	return f.File.Sync()
}

// OpenDir is part of vfs.FS.
func (fs *storeFS) OpenDir(name string) (vfs.File, error) {
	f, err := fs.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &folder{File: f, fs: fs}, nil
}
