package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/sstable/colblk"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Pebble keeps larger values in blob files, and ends the process where it finds one missing or damaged while it opens or rewrites it
// (https://github.com/cockroachdb/pebble/issues/5127): again after each start, since the rewriting is taken up again. So what is read from such a
// file is checked here first, and an error that Pebble does not take for a corruption reaches whoever has asked; and a file is
// rewritten only if all of it can be read.

const (
	blobSuffix = ".blob"
	blobMagic  = "\xf0\x9f\xaa\xb3\xf0\x9f\xa6\x80"
	// A blob file ends in: checksum of what follows(4) index block: offset(8) length(8) kind of checksum(1) format(1) file number(8) magic(8).
	blobFooter = 38
	blobFormat = 1
	// rewriteCategory is what Pebble calls its writes when it rewrites a blob file.
	rewriteCategory = "pebble-blob-file-rewrite"
	// rewritePause is how long no blob file is rewritten when one can't be read: Pebble would take the same one again at once.
	rewritePause = time.Hour
)

// blobFile is a blob file open for reading.
type blobFile struct {
	vfs.File
	fs   *storeFS
	name string
	size int64

	checksum block.ChecksumType
	format   byte
	index    block.Handle
}

// openBlob opens a blob file, or says by an ErrCorrupt what is wrong with it.
func (fs *storeFS) openBlob(name string, opts []vfs.OpenOption) (*blobFile, error) {
	f, err := fs.FS.Open(name, opts...)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil, fs.damaged(name, "it is missing")
	}
	if err != nil {
		return nil, err
	}
	b := &blobFile{File: f, fs: fs, name: name}
	if err := b.readFooter(); err != nil {
		_ = f.Close()
		return nil, err
	}
	return b, nil
}

func (b *blobFile) readFooter() error {
	info, err := b.Stat()
	if err != nil {
		return err
	}
	b.size = info.Size()
	if b.size < blobFooter {
		return b.fs.damaged(b.name, "its %d bytes are too few", b.size)
	}
	var footer [blobFooter]byte
	if _, err := b.File.ReadAt(footer[:], b.size-blobFooter); err != nil {
		return err
	}
	if !strings.HasSuffix(string(footer[:]), blobMagic) {
		return b.fs.damaged(b.name, "its end is not that of a file of values")
	}
	// The checksum as it stands behind a block.
	sum := append(footer[4:], footer[:4]...)
	if err := checkBlock(block.ChecksumTypeCRC32c, sum, b.size-blobFooter); err != nil {
		return b.fs.damaged(b.name, "%v", err)
	}
	b.index = block.Handle{Offset: binary.LittleEndian.Uint64(footer[4:]), Length: binary.LittleEndian.Uint64(footer[12:])}
	b.checksum, b.format = block.ChecksumType(footer[20]), footer[21]
	return nil
}

// ReadAt reads one block, or the footer.
func (b *blobFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := b.File.ReadAt(p, off)
	switch {
	case errors.Is(err, io.EOF):
		return n, b.fs.damaged(b.name, "it ends before byte %d", off+int64(len(p)))
	case err != nil || off+int64(len(p)) == b.size:
		return n, err
	}
	if err := checkBlock(b.checksum, p, off); err != nil {
		return n, b.fs.damaged(b.name, "%v", err)
	}
	return n, nil
}

// checkBlock verifies the checksum that ends a block.
func checkBlock(kind block.ChecksumType, p []byte, off int64) error {
	if len(p) < block.TrailerLen {
		return fmt.Errorf("a block of %d bytes at %d", len(p), off)
	}
	return block.ValidateChecksum(kind, p, block.Handle{Offset: uint64(off), Length: uint64(len(p) - block.TrailerLen)})
}

// damaged tells the operator and makes an ErrCorrupt of it. What Pebble would take for a corruption must not be wrapped.
func (fs *storeFS) damaged(name, format string, args ...any) error {
	err := fmt.Errorf("%w: file %s: "+format, append([]any{ErrCorrupt, fs.PathBase(name)}, args...)...)
	if fs.corrupt != nil {
		fs.corrupt(name, err)
	}
	return err
}

// readBlocks reads all of the file.
func (b *blobFile) readBlocks() error {
	if b.format != blobFormat {
		return nil
	}
	if b.index.Offset > uint64(b.size) || b.index.Length > uint64(b.size)-b.index.Offset {
		return b.fs.damaged(b.name, "its index lies at %d and has %d bytes", b.index.Offset, b.index.Length)
	}
	index := make([]byte, b.index.Length+block.TrailerLen)
	if _, err := b.ReadAt(index, int64(b.index.Offset)); err != nil {
		return err
	}
	// A count of virtual blocks(4), and two columns: where virtual blocks are, and where each block begins and the last one ends.
	var columns colblk.BlockDecoder
	columns.Init(index[:b.index.Length], 4)
	n := columns.Rows() + 1
	starts := colblk.DecodeColumn(&columns, 1, n, colblk.DataTypeUint, colblk.DecodeUnsafeUints)
	var buf []byte
	for i := 1; i < n; i++ {
		from, to := starts.At(i-1), starts.At(i)
		if from > to || to > b.index.Offset {
			return b.fs.damaged(b.name, "a block lies at %d to %d", from, to)
		}
		buf = slices.Grow(buf[:0], int(to-from))[:to-from]
		if _, err := b.ReadAt(buf, int64(from)); err != nil {
			return err
		}
	}
	return nil
}

// beforeRewrite reads the whole file that Pebble is about to rewrite. It is called when Pebble creates the new one, the
// last moment at which an error does no harm.
func (fs *storeFS) beforeRewrite() error {
	name := fs.rewriting.Load()
	if name == nil {
		return nil
	}
	f, err := fs.openBlob(*name, []vfs.OpenOption{vfs.SequentialReadsOption})
	if err != nil {
		return err
	}
	return errors.Join(f.readBlocks(), f.Close())
}

// rewriteBegins and rewriteEnds frame the rewriting of a blob file, of which Pebble has one at a time.
func (s *Store) rewriteBegins(i pebble.BlobFileRewriteInfo) {
	name := s.fs.PathJoin(s.dir, storeFolder, i.Input.DiskFileNum.String()+blobSuffix)
	s.fs.rewriting.Store(&name)
}

func (s *Store) rewriteEnds(i pebble.BlobFileRewriteInfo) {
	s.fs.badRewrite.Store(false)
	if errors.Is(i.Err, ErrCorrupt) {
		s.rewriteAfter.Store(time.Now().Add(rewritePause).UnixNano())
	}
}

// separation keeps values from a few hundred bytes on out of the levels. Compactions then move little more than keys, and the levels stay
// so small that a look-up reads the disk once, for the value. The figures are in docs/decisions.md.
func (s *Store) separation() pebble.ValueSeparationPolicy {
	p := pebble.ValueSeparationPolicy{
		Enabled:     true,
		MinimumSize: s.o.SeparateBytes,
		// Values of neighbours are in this many files at most; with few, compactions copy the values to bring them together.
		MaxBlobReferenceDepth: 256,
		// Nothing looks for garbage once writes have stopped, so what there is to rewrite must be old enough soon.
		RewriteMinimumAge:  s.o.rewriteAge,
		TargetGarbageRatio: 0.3,
	}
	if time.Now().UnixNano() < s.rewriteAfter.Load() {
		p.TargetGarbageRatio = 1
	}
	return p
}

// findBlobs makes sure that each blob file is there that the MANIFEST names, as Pebble does for its tables. A shorter one is told,
// and found out by whoever reads it.
func (s *Store) findBlobs(dir string) error {
	po := s.pebbleOptions(s.fs)
	po.ReadOnly, po.CacheSize = true, 1<<20
	db, err := s.openPebble(dir, po)
	if err != nil {
		return err
	}
	for f := range db.DebugCurrentVersion().BlobFiles.All() {
		name := s.fs.PathJoin(dir, f.Physical.FileNum.String()+blobSuffix)
		info, statErr := s.fs.Stat(name)
		switch {
		case errors.Is(statErr, iofs.ErrNotExist):
			err = errors.Join(err, fmt.Errorf("%w: %s is missing, which holds values. Restore it from a backup or another copy; "+
				"or go on without these values: with an empty file of that name, reads of them answer an error", ErrCorrupt, name))
		case statErr != nil:
			err = errors.Join(err, statErr)
		case uint64(info.Size()) != f.Physical.Size:
			s.noteCorrupt(name, fmt.Errorf("%w: its %d bytes should be %d; reads of the values in it answer an error", ErrCorrupt, info.Size(), f.Physical.Size))
		}
	}
	return errors.Join(err, db.Close())
}
