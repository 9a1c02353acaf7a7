package engine

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"

	wal "github.com/cairndb/cairn/engine/log"
)

// A store that is fetched from another node grows beside the one in use:
//
//	store.new/, log.new/   being fetched, or fetched
//	INSTALL                they are whole: they replace store/ and log/
//
// INSTALL is the one decision. Each step after it can be taken again, so whoever opens the folder after a crash finishes them:
// a folder X.new that still exists has not replaced X yet.
const (
	newStoreFolder = storeFolder + newSuffix
	newLogFolder   = logFolder + newSuffix
	newSuffix      = ".new"
	installFile    = "INSTALL"
)

var (
	// ErrNotWhole: Install was called without a store to install.
	ErrNotWhole = errors.New("engine: there is no whole store to install")
	// ErrAhead: the store has already written to disk what should be cut off the log.
	ErrAhead = errors.New("engine: the store on the disk is ahead of the offset")
)

// Incoming returns the folders in which a store to be installed in dir is put together: Pebble's files and the log.
func Incoming(dir string, fs vfs.FS) (store, log string) {
	return fs.PathJoin(dir, newStoreFolder), fs.PathJoin(dir, newLogFolder)
}

// DiscardIncoming removes what was fetched, unless it is being installed.
func DiscardIncoming(dir string, fs vfs.FS) error {
	if installing(dir, fs) || repairing(dir, fs) {
		return nil
	}
	store, log := Incoming(dir, fs)
	return errors.Join(fs.RemoveAll(store), fs.RemoveAll(log), fs.RemoveAll(fs.PathJoin(dir, newSlotsFile)))
}

// Install replaces the store in dir, which must not be open, by the one in its Incoming folders, which must be whole and synced. After a
// crash either nothing has happened or the next Open finishes it.
func Install(dir string, o Options) error {
	if err := o.ensureDefaults(); err != nil {
		return err
	}
	o.ReadOnly = false
	lock, err := prepareFolder(dir, &o) // it finishes what an earlier run has begun
	if err != nil {
		return err
	}
	err = install(dir, o.FS)
	if lock != nil {
		err = errors.Join(err, lock.Close())
	}
	return err
}

func install(dir string, fs vfs.FS) error {
	store, log := Incoming(dir, fs)
	for _, folder := range []string{store, log} {
		if _, err := fs.Stat(folder); err != nil {
			return fmt.Errorf("%w: %w", ErrNotWhole, err)
		}
	}
	if err := syncDir(fs, dir); err != nil {
		return fmt.Errorf("engine: installing: %w", err)
	}
	tmp := fs.PathJoin(dir, installFile+".tmp")
	if err := writeFile(fs, tmp, []byte("the folders *.new replace those without the suffix\n")); err != nil {
		return fmt.Errorf("engine: installing: %w", err)
	}
	if err := fs.Rename(tmp, fs.PathJoin(dir, installFile)); err != nil {
		return fmt.Errorf("engine: installing: %w", err)
	}
	if err := syncDir(fs, dir); err != nil {
		return fmt.Errorf("engine: installing: %w", err)
	}
	return finishInstall(dir, fs)
}

func installing(dir string, fs vfs.FS) bool {
	_, err := fs.Stat(fs.PathJoin(dir, installFile))
	return err == nil
}

// finishInstall does what INSTALL says, if it is there.
func finishInstall(dir string, fs vfs.FS) error {
	if !installing(dir, fs) {
		return nil
	}
	for _, name := range []string{storeFolder, logFolder} {
		if err := replaceFolder(dir, name, fs); err != nil {
			return fmt.Errorf("engine: installing %s: %w", name, err)
		}
	}
	if err := fs.Remove(fs.PathJoin(dir, installFile)); err != nil {
		return fmt.Errorf("engine: installing: %w", err)
	}
	return syncDir(fs, dir)
}

func replaceFolder(dir, name string, fs vfs.FS) error {
	fresh := fs.PathJoin(dir, name+newSuffix)
	if _, err := fs.Stat(fresh); err != nil {
		return nil // it has replaced the old one
	}
	old := fs.PathJoin(dir, name)
	if err := fs.RemoveAll(old); err != nil {
		return err
	}
	if err := syncDir(fs, dir); err != nil {
		return err
	}
	if err := fs.Rename(fresh, old); err != nil {
		return err
	}
	return syncDir(fs, dir)
}

// Rewind cuts the log of a store that is not open at an offset, where it parts from another node's. It works while what
// Pebble has on the disk is not behind that offset, and changes nothing otherwise (ErrAhead): the next Open then replays the log up to it.
func Rewind(dir string, to Offset, o Options) error {
	if err := o.ensureDefaults(); err != nil {
		return err
	}
	o.ReadOnly = true
	lock, err := prepareFolder(dir, &o)
	if err != nil {
		return err
	}
	err = rewind(dir, to, &o)
	if lock != nil {
		err = errors.Join(err, lock.Close())
	}
	return err
}

func rewind(dir string, to Offset, o *Options) error {
	_, reach, err := newStore(dir, *o).readOffsets()
	if err != nil {
		return err
	}
	if reach > to {
		return fmt.Errorf("%w: it has %d, the offset is %d", ErrAhead, reach, to)
	}
	return wal.Rewind(o.FS.PathJoin(dir, logFolder), to, wal.Options{FS: o.FS, SegmentSize: o.LogSegmentBytes, Logger: o.Logger})
}
