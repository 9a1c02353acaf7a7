package engine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A data folder:
//
//	CAIRN    one line: its format version; written first
//	LOCK     locked while a process has the folder open
//	ballast  room for Pebble's MANIFEST when the disk is full; may be missing
//	log/     the log's segments
//	store/   Pebble
//	checkpoints/, store.new/, log.new/, INSTALL   see checkpoint.go and install.go
//	slots.new, REPAIR                             see slotrepair.go
//
// Other files (nodes.conf, a configuration) may lie beside them.
const (
	versionFile = "CAIRN"
	lockFile    = "LOCK"
	ballastFile = "ballast"
	logFolder   = "log"
	storeFolder = "store"

	versionLine = "cairn data folder, version 1\n"
	folderHead  = "cairn data folder, "
	ballastSize = 8 << 20
)

// drafts are the lines of what became version 1: the first knew no slots that are being imported (keys.KindImport), the second no collections. What
// they have is as it is in version 1, but that the filters of their stores keep fewer bytes of a key (firstComparer).
var drafts = []string{"cairn data folder, format 1\n", "cairn data folder, format 2\n", "cairn data folder, format 3\n"}

// foreign are names that tell that a folder belongs to another database, or lost its version file.
var foreign = []string{"appendonlydir", "appendonly.aof", "CURRENT", "IDENTITY", "PG_VERSION", "ibdata1", logFolder, storeFolder}

// prepareFolder creates or recognises the data folder and locks it.
func prepareFolder(dir string, o *Options) (io.Closer, error) {
	if !o.ReadOnly {
		if err := o.FS.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("engine: creating the data folder: %w", err)
		}
		// The folder's own name has to survive a power loss, too. Not every parent may be opened.
		_ = syncDir(o.FS, o.FS.PathDir(dir))
	}
	names, err := o.FS.List(dir)
	if err != nil {
		return nil, fmt.Errorf("engine: reading the data folder: %w", err)
	}
	known, current := slices.Contains(names, versionFile), false
	if known {
		if current, err = checkVersion(dir, o.FS); err != nil {
			return nil, err
		}
	} else {
		for _, n := range names {
			if slices.Contains(foreign, n) {
				return nil, fmt.Errorf("%w: %s has a %q but no %s file: choose another folder, or an empty one", ErrFolder, dir, n, versionFile)
			}
		}
		if o.ReadOnly {
			return nil, fmt.Errorf("%w: %s has no %s file", ErrFolder, dir, versionFile)
		}
	}
	lock, err := lockFolder(dir, o)
	if err != nil {
		return nil, err
	}
	if err := tidyFolder(dir, o); err != nil {
		if lock != nil {
			_ = lock.Close()
		}
		return nil, err
	}
	if !current && !o.ReadOnly {
		if err := writeVersion(dir, o.FS); err != nil {
			_ = lock.Close()
			return nil, fmt.Errorf("engine: writing the data folder's version: %w", err)
		}
	}
	return lock, nil
}

// tidyFolder finishes and removes what a crash has left half done.
func tidyFolder(dir string, o *Options) error {
	if o.ReadOnly {
		if installing(dir, o.FS) || repairing(dir, o.FS) {
			return fmt.Errorf("%w: %s is being replaced by another node's store: open it for writing once", ErrFolder, dir)
		}
		return nil
	}
	if err := errors.Join(finishInstall(dir, o.FS), finishRepair(dir, o)); err != nil {
		return err
	}
	return o.FS.RemoveAll(o.FS.PathJoin(dir, checkpointFolder))
}

func lockFolder(dir string, o *Options) (io.Closer, error) {
	lock, err := o.FS.Lock(o.FS.PathJoin(dir, lockFile))
	switch {
	case err == nil:
		return lock, nil
	case o.ReadOnly && (errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)):
		return nil, nil // who can't write there can't disturb anyone either
	case errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS):
		return nil, fmt.Errorf("engine: the data folder %s is not writable: %w", dir, err)
	case errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) || strings.Contains(err.Error(), "lock held"):
		return nil, fmt.Errorf("%w: %s: %w", ErrLocked, dir, err)
	}
	return nil, fmt.Errorf("engine: locking the data folder %s: %w", dir, err)
}

// checkVersion says whether the folder is of the current version, or of an older one that can be opened as it is.
func checkVersion(dir string, fs vfs.FS) (current bool, err error) {
	f, err := fs.Open(fs.PathJoin(dir, versionFile))
	if err != nil {
		return false, fmt.Errorf("engine: reading the data folder's version: %w", err)
	}
	defer f.Close()
	line, err := io.ReadAll(io.LimitReader(f, 256))
	if err != nil {
		return false, fmt.Errorf("engine: reading the data folder's version: %w", err)
	}
	switch {
	case string(line) == versionLine, slices.Contains(drafts, string(line)):
		return string(line) == versionLine, nil
	case strings.HasPrefix(string(line), folderHead):
		return false, fmt.Errorf("%w: %s says %q, this version knows %q: use the version that wrote it, or a newer one",
			ErrFolder, dir, strings.TrimSpace(string(line)), strings.TrimSpace(versionLine))
	}
	return false, fmt.Errorf("%w: %s holds no version", ErrFolder, fs.PathJoin(dir, versionFile))
}

// writeVersion makes the version durable before anything else is created. It is renamed into place, so a crash leaves all or none of it.
func writeVersion(dir string, fs vfs.FS) error {
	tmp := fs.PathJoin(dir, versionFile+".tmp")
	if err := writeFile(fs, tmp, []byte(versionLine)); err != nil {
		return err
	}
	if err := fs.Rename(tmp, fs.PathJoin(dir, versionFile)); err != nil {
		return err
	}
	return syncDir(fs, dir)
}

func writeFile(fs vfs.FS, name string, content []byte) error {
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
