package log

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	segmentMagic      = "CAIRNLOG"
	segmentVersion    = 1
	segmentHeaderSize = 128
	segmentSuffix     = ".log"
	nextName          = "next.tmp"
	noSegment         = ^uint64(0) // segmentHeader.previous of the first segment
	idSize            = 40         // of a replication ID
	prewriteChunk     = 8 << 20
)

// Why a segment header is none.
var (
	errNoHeader       = errors.New("segment header is missing")
	errHeaderChecksum = errors.New("segment header checksum mismatch")
	errHeaderStart    = errors.New("segment header does not belong to its file name")
)

// segmentHeader is drawn in doc.go.
type segmentHeader struct {
	start    uint64
	previous uint64
	synced   uint64
	wall     int64
	link     uint32
	term     Term
	// foreign: the records in this segment are another node's, and so is what they say was synced.
	foreign bool
}

func (h *segmentHeader) encode() []byte {
	b := make([]byte, segmentHeaderSize)
	copy(b, segmentMagic)
	binary.LittleEndian.PutUint32(b[12:], segmentVersion)
	binary.LittleEndian.PutUint64(b[16:], h.start)
	binary.LittleEndian.PutUint64(b[24:], h.previous)
	binary.LittleEndian.PutUint64(b[32:], h.synced)
	binary.LittleEndian.PutUint64(b[40:], uint64(h.wall))
	binary.LittleEndian.PutUint32(b[48:], h.link)
	binary.LittleEndian.PutUint64(b[56:], h.term.Start)
	copy(b[64:64+idSize], h.term.ID)
	binary.LittleEndian.PutUint32(b[104:], h.flags())
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b[12:], castagnoli))
	return b
}

// decodeSegmentHeader returns ErrVersion for a foreign version, and another error for
// bytes that are no header.
func decodeSegmentHeader(b []byte) (h segmentHeader, err error) {
	if len(b) < segmentHeaderSize || string(b[:8]) != segmentMagic {
		return h, errNoHeader
	}
	if crc32.Checksum(b[12:segmentHeaderSize], castagnoli) != binary.LittleEndian.Uint32(b[8:]) {
		return h, errHeaderChecksum
	}
	if v := binary.LittleEndian.Uint32(b[12:]); v != segmentVersion {
		return h, fmt.Errorf("%w %d; this version knows %d", ErrVersion, v, segmentVersion)
	}
	h = segmentHeader{
		start:    binary.LittleEndian.Uint64(b[16:]),
		previous: binary.LittleEndian.Uint64(b[24:]),
		synced:   binary.LittleEndian.Uint64(b[32:]),
		wall:     int64(binary.LittleEndian.Uint64(b[40:])),
		link:     binary.LittleEndian.Uint32(b[48:]),
		foreign:  decodeFlags(b[104:]),
	}
	if id := bytes.TrimRight(b[64:64+idSize], "\x00"); len(id) > 0 {
		h.term = Term{ID: string(id), Start: binary.LittleEndian.Uint64(b[56:])}
	}
	return h, nil
}

func segmentName(start uint64) string { return fmt.Sprintf("%020d%s", start, segmentSuffix) }

func parseSegmentName(name string) (start uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	start, err := strconv.ParseUint(digits, 10, 64)
	return start, err == nil && segmentName(start) == name
}

// segment is one file of the log. Its fields are guarded by Log.mu; those of a
// sealed segment no longer change.
type segment struct {
	start uint64
	file  vfs.File // for writing and syncing; nil once sealed
	room  int64    // record bytes that are reserved on the disk
	named bool     // its directory entry is synced
	// sealed: complete and wholly synced, and so is the header of the next one, which can then
	// stand alone as the oldest.
	sealed bool
}

// position is where a log offset lies in the file.
func (s *segment) position(off uint64) int64 { return segmentHeaderSize + int64(off-s.start) }

// offset is the inverse of position.
func (s *segment) offset(pos int64) uint64 { return s.start + uint64(pos-segmentHeaderSize) }

// reserve makes sure that the disk has room for n bytes of records.
func (s *segment) reserve(n int64) error {
	if n <= s.room {
		return nil
	}
	err := s.file.Preallocate(0, segmentHeaderSize+n)
	if err != nil && !isUnsupported(err) {
		return fileError(err)
	}
	s.room = n
	return nil
}

// createSegmentFile makes name anew with room for n bytes of records. Its
// header is written later, and so is its final name.
func createSegmentFile(fs vfs.FS, name string, n int64) (*segment, error) {
	if err := removeIfExists(fs, name); err != nil {
		return nil, fileError(err)
	}
	if u, err := fs.GetDiskUsage(fs.PathDir(name)); err == nil && u.AvailBytes < uint64(n+segmentHeaderSize) {
		return nil, fmt.Errorf("%w: a segment needs %d bytes, %d are free", ErrNoSpace, n, u.AvailBytes)
	}
	file, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, fileError(err)
	}
	s := &segment{file: file}
	if err := s.reserve(n); err != nil {
		// What was reserved before the disk was full is given back.
		return nil, errors.Join(err, fileError(file.Close()), fileError(fs.Remove(name)))
	}
	return s, nil
}

// prewrite writes zeros over the room for records from offset from on, so that a later sync of records there need not
// change the file's metadata too, which takes about as long again. stop ends it early.
func (s *segment) prewrite(from uint64, stop <-chan struct{}) error {
	zeros := make([]byte, prewriteChunk)
	for pos, end := s.position(from), segmentHeaderSize+s.room; pos < end; {
		select {
		case <-stop:
			return nil
		default:
		}
		n := min(prewriteChunk, end-pos)
		if _, err := s.file.WriteAt(zeros[:n], pos); err != nil {
			return fileError(err)
		}
		if err := s.file.SyncData(); err != nil { // by pieces, so that the log's own syncs need not wait for it all
			return fileError(err)
		}
		pos += n
	}
	return fileError(s.file.Sync())
}

// fileError names the package in an error of the file system, and makes "disk full" an ErrNoSpace.
func fileError(err error) error {
	switch {
	case err == nil || errors.Is(err, ErrNoSpace):
		return err
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return fmt.Errorf("log: %w", err)
}

// isUnsupported: the file system can't preallocate. Then a full disk shows
// when a record is written, and the write is finished later.
func isUnsupported(err error) bool {
	return errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS)
}

func removeIfExists(fs vfs.FS, name string) error {
	if _, err := fs.Stat(name); err != nil {
		if isNotExist(err) {
			return nil
		}
		return err
	}
	return fs.Remove(name)
}

// syncDir makes the names in dir durable.
func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
