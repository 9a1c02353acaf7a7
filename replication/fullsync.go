package replication

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairndb/cairn/engine"
	wal "github.com/cairndb/cairn/engine/log"
)

const (
	// maxFiles bounds the files of a checkpoint.
	maxFiles = 1 << 20
	// maxFileName is that of a file's name.
	maxFileName = 200
	// listed is how many files are told in one frame.
	listed = 2048
	// askAfter is how much of a file is gathered before the disk is asked to write it.
	askAfter = 4 << 20
)

// have is what a replica has of a file already: so many bytes, with this checksum.
type have struct {
	size int64
	crc  uint32
}

// progress counts the bytes of a full sync.
type progress struct{ done, reused, total atomic.Int64 }

// sendFull sends everything: a checkpoint's files, and the log that makes them whole.
func (s *session) sendFull(ctx context.Context) error {
	c, err := s.store.Checkpoint(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err := c.Close(); err != nil {
			s.m.o.Logger.Warn("replication: removing a checkpoint", "err", err)
		}
	}()
	// From here the log is held for the replica, which comes again for the rest.
	if s.hold, err = s.store.Log().Hold(c.Start.Offset); err != nil {
		return err
	}
	if err := s.sendList(c.Files); err != nil {
		return err
	}
	var haves []have
	select {
	case haves = <-s.haves:
	case <-ctx.Done():
		return ctx.Err()
	}
	if len(haves) != len(c.Files) {
		return errFrame
	}
	s.state.Store(int32(stateSendFiles))
	t := &throttle{rate: func() int64 { return s.m.settings.Load().SyncRate }}
	for i := range c.Files {
		if err := s.sendFile(ctx, t, c, i, haves[i]); err != nil {
			return err
		}
	}
	return s.sendRest(ctx, t, c.Start, c.Until)
}

func (s *session) sendList(files []engine.CheckpointFile) error {
	for at := 0; ; {
		n := min(listed, len(files)-at)
		last := at+n == len(files)
		payload := []byte{0}
		if last {
			payload[0] = 1
		}
		for _, f := range files[at : at+n] {
			payload = append(payload, u64(uint64(f.Size))...)
			payload = append(payload, byte(len(f.Name)))
			payload = append(payload, f.Name...)
			s.progress.total.Add(f.Size)
		}
		if err := s.w.write(frameFiles, 0, payload); err != nil || last {
			return err
		}
		at += n
	}
}

// sendFile sends what the replica lacks of a file, and the checksum of all of it.
func (s *session) sendFile(ctx context.Context, t *throttle, c *engine.Checkpoint, i int, got have) error {
	fs, info := s.m.o.FS, c.Files[i]
	file, err := fs.Open(fs.PathJoin(c.Dir, info.Name), vfs.SequentialReadsOption)
	if err != nil {
		return err
	}
	defer file.Close()
	at, crc := int64(0), uint32(0)
	if got.size > 0 && got.size <= info.Size {
		if crc, err = checksumFile(ctx, file, got.size, s.buf); err != nil {
			return err
		}
		if crc == got.crc {
			at = got.size
			s.progress.reused.Add(at)
		} else {
			crc = 0
		}
	}
	for at < info.Size {
		n, err := file.ReadAt(s.buf[:min(chunkSize, info.Size-at)], at)
		if n == 0 {
			return fmt.Errorf("replication: reading %s: %w", info.Name, noEOF(err))
		}
		crc = crc32.Update(crc, castagnoli, s.buf[:n])
		if err := s.w.write(frameChunk, 0, u32(uint32(i)), u64(uint64(at)), s.buf[:n]); err != nil {
			return err
		}
		at += int64(n)
		s.progress.done.Add(int64(n))
		if err := t.wait(ctx, n); err != nil {
			return err
		}
	}
	return s.w.write(frameEnd, 0, u32(uint32(i)), u32(crc))
}

// sendRest sends the log that belongs to a checkpoint, or to slots, and goes on until the replica hangs up to install it.
func (s *session) sendRest(ctx context.Context, t *throttle, start wal.Start, until engine.Offset) error {
	err := s.w.write(frameBegin, 0, u64(start.Offset), u32(start.Link), u64(until), []byte(formatTerms(start.Terms)))
	if err != nil {
		return err
	}
	in, err := s.store.Log().ReadRaw(start.Offset)
	if err != nil {
		return err
	}
	defer in.Close()
	for in.Offset() < until {
		at := in.Offset()
		if _, err := s.sendLog(in); err != nil {
			return err
		}
		if err := t.wait(ctx, int(in.Offset()-at)); err != nil {
			return err
		}
	}
	s.hold.Move(until)
	<-ctx.Done()
	return nil
}

// checksumFile reads the first n bytes of a file.
func checksumFile(ctx context.Context, file vfs.File, n int64, buf []byte) (crc uint32, err error) {
	for at := int64(0); at < n; {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		m, err := file.ReadAt(buf[:min(int64(len(buf)), n-at)], at)
		if m == 0 {
			return 0, noEOF(err)
		}
		crc = crc32.Update(crc, castagnoli, buf[:m])
		at += int64(m)
	}
	return crc, nil
}

func parseHaves(f *frame) (haves []have, last bool, err error) {
	p := f.parse()
	last = p.u8() == 1
	for p.ok && len(p.b) > 0 {
		haves = append(haves, have{size: int64(p.u64()), crc: p.u32()})
	}
	if !p.ok {
		return nil, false, errFrame
	}
	return haves, last, nil
}

func parseFiles(f *frame) (files []engine.CheckpointFile, last bool, err error) {
	p := f.parse()
	last = p.u8() == 1
	for p.ok && len(p.b) > 0 {
		size := int64(p.u64())
		name := string(p.take(int(p.u8())))
		if size < 0 || !validFileName(name) {
			return nil, false, errFrame
		}
		files = append(files, engine.CheckpointFile{Name: name, Size: size})
	}
	if !p.ok {
		return nil, false, errFrame
	}
	return files, last, nil
}

// validFileName: a name from another node must stay in its folder.
func validFileName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= maxFileName && visible(name) && !strings.ContainsAny(name, `/\:`)
}

// fetch is a full sync on the replica's side.
type fetch struct {
	fs            vfs.FS
	folder        string // of the files
	logFolder     string
	in            *frameReader
	w             *frameWriter
	progress      *progress
	logOptions    wal.Options
	files         []engine.CheckpointFile
	open          vfs.File // the file being written
	openIndex     int
	crc           uint32 // of what it has up to openAt
	openAt        int64
	askedAt       int64 // up to where the disk was asked to write it
	haves         []have
	buf           []byte
	ctx           context.Context
	begin         wal.Start
	until         engine.Offset
	onNext        func() // after each frame
	lastCompleted int
}

// run fetches files and log, and returns when both are whole and synced.
func (f *fetch) run() (err error) {
	defer func() {
		if f.open != nil {
			err = errors.Join(err, f.open.Close())
		}
	}()
	f.lastCompleted, f.openIndex = -1, -1
	if err := f.list(); err != nil {
		return err
	}
	if err := f.sayWhatIsThere(); err != nil {
		return err
	}
	if err := f.checkRoom(); err != nil {
		return err
	}
	if err := f.fetchFiles(); err != nil {
		return err
	}
	if err := syncFolder(f.fs, f.folder); err != nil {
		return err
	}
	return f.fetchLog()
}

// next is the next frame that isn't a ping.
func (f *fetch) next() (frame, error) {
	for {
		fr, err := f.in.next()
		if err != nil {
			return fr, err
		}
		f.onNext()
		switch fr.kind {
		case framePing:
		case frameError:
			return fr, remoteError(&fr)
		default:
			return fr, f.ctx.Err()
		}
	}
}

func (f *fetch) list() error {
	for {
		fr, err := f.next()
		if err != nil {
			return err
		}
		if fr.kind != frameFiles {
			return errFrame
		}
		files, last, err := parseFiles(&fr)
		if err != nil || len(f.files)+len(files) > maxFiles {
			return errFrame
		}
		if f.files = append(f.files, files...); last {
			break
		}
	}
	for _, file := range f.files {
		f.progress.total.Add(file.Size)
	}
	return f.prune()
}

// checkRoom refuses a sync for which the disk has no room, before the store that is still in use runs out of it.
func (f *fetch) checkRoom() error {
	need := int64(0)
	for i, file := range f.files {
		need += file.Size - f.haves[i].size
	}
	u, err := f.fs.GetDiskUsage(f.folder)
	if err == nil && need > 0 && uint64(need) > u.AvailBytes {
		return fmt.Errorf("replication: the disk has room for %d MiB, the full sync needs %d", u.AvailBytes>>20, need>>20)
	}
	return nil // a file system that can't tell: try
}

// prune removes files of an earlier attempt that are not in the list.
func (f *fetch) prune() error {
	if err := f.fs.MkdirAll(f.folder, 0o755); err != nil {
		return err
	}
	wanted := make(map[string]bool, len(f.files))
	for _, file := range f.files {
		wanted[file.Name] = true
	}
	names, err := f.fs.List(f.folder)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !wanted[name] {
			if err := f.fs.RemoveAll(f.fs.PathJoin(f.folder, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *fetch) sayWhatIsThere() error {
	payload := []byte{0}
	for i, file := range f.files {
		got, err := f.has(file)
		if err != nil {
			return err
		}
		f.haves = append(f.haves, got)
		payload = append(payload, u64(uint64(got.size))...)
		payload = append(payload, u32(got.crc)...)
		if len(payload) > chunkSize && i+1 < len(f.files) {
			if err := f.w.write(frameHave, 0, payload); err != nil {
				return err
			}
			payload = []byte{0}
		}
	}
	payload[0] = 1
	return f.w.write(frameHave, 0, payload)
}

// has reads what an earlier attempt has left of a file.
func (f *fetch) has(info engine.CheckpointFile) (have, error) {
	file, err := f.fs.Open(f.fs.PathJoin(f.folder, info.Name), vfs.SequentialReadsOption)
	if err != nil {
		return have{}, nil
	}
	defer file.Close()
	stat, err := file.Stat()
	if err != nil || stat.Size() > info.Size {
		return have{}, nil
	}
	crc, err := checksumFile(f.ctx, file, stat.Size(), f.buf)
	if f.ctx.Err() != nil {
		return have{}, f.ctx.Err()
	}
	if err != nil {
		return have{}, nil // unreadable: fetched anew
	}
	return have{size: stat.Size(), crc: crc}, nil
}

func (f *fetch) fetchFiles() error {
	for {
		fr, err := f.next()
		if err != nil {
			return err
		}
		switch fr.kind {
		case frameChunk:
			err = f.chunk(&fr)
		case frameEnd:
			err = f.endFile(&fr)
		case frameBegin:
			return f.beginLog(&fr)
		default:
			err = errFrame
		}
		if err != nil {
			return err
		}
	}
}

// chunk writes a piece of a file; the first one of a file is at its start or where what is there ends.
func (f *fetch) chunk(fr *frame) error {
	p := fr.parse()
	i, at := int(p.u32()), int64(p.u64())
	if !p.ok || i != f.lastCompleted+1 || i >= len(f.files) || at+int64(len(p.b)) > f.files[i].Size {
		return errFrame
	}
	if f.openIndex != i {
		if err := f.openFile(i, at == 0); err != nil {
			return err
		}
	}
	if at != f.openAt {
		return errFrame
	}
	if _, err := f.open.WriteAt(p.b, at); err != nil {
		return err
	}
	f.crc = crc32.Update(f.crc, castagnoli, p.b)
	f.openAt += int64(len(p.b))
	f.progress.done.Add(int64(len(p.b)))
	return f.askDisk()
}

// askDisk has the disk write what has come of a file while more of it comes: else the link would stand still for all of it at the file's end.
func (f *fetch) askDisk() error {
	if f.openAt-f.askedAt < askAfter {
		return nil
	}
	f.askedAt = f.openAt
	_, err := f.open.SyncTo(f.openAt)
	return err
}

// openFile opens file i to go on with it, or anew.
func (f *fetch) openFile(i int, anew bool) (err error) {
	name := f.fs.PathJoin(f.folder, f.files[i].Name)
	f.openIndex, f.openAt, f.crc = i, 0, 0
	if !anew {
		f.openAt, f.crc = f.haves[i].size, f.haves[i].crc
	}
	f.askedAt = f.openAt
	if f.openAt == 0 {
		f.open, err = f.fs.Create(name, vfs.WriteCategoryUnspecified)
	} else {
		f.open, err = f.fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
		f.progress.reused.Add(f.openAt)
	}
	return err
}

// endFile verifies and syncs a file.
func (f *fetch) endFile(fr *frame) error {
	p := fr.parse()
	i, crc := int(p.u32()), p.u32()
	if !p.ok || i != f.lastCompleted+1 || i >= len(f.files) {
		return errFrame
	}
	if f.openIndex != i { // nothing of it was sent: it is whole, or empty
		if err := f.openFile(i, f.files[i].Size == 0); err != nil {
			return err
		}
	}
	err := f.open.Sync()
	err = errors.Join(err, f.open.Close())
	f.open = nil
	if err != nil {
		return err
	}
	if f.openAt != f.files[i].Size || f.crc != crc {
		name := f.fs.PathJoin(f.folder, f.files[i].Name)
		return errors.Join(fmt.Errorf("%w: file %s", errChecksum, f.files[i].Name), f.fs.Remove(name))
	}
	f.lastCompleted = i
	return nil
}

func (f *fetch) beginLog(fr *frame) (err error) {
	p := fr.parse()
	f.begin = wal.Start{Offset: p.u64(), Link: p.u32()}
	f.until = p.u64()
	if f.begin.Terms, err = parseTerms(p.b); err != nil || !p.ok || f.until < f.begin.Offset {
		return errFrame
	}
	if f.lastCompleted != len(f.files)-1 {
		return errFrame
	}
	f.progress.total.Add(int64(f.until - f.begin.Offset))
	return nil
}

// fetchLog fetches the log up to until into a log of its own.
func (f *fetch) fetchLog() error {
	if err := f.fs.RemoveAll(f.logFolder); err != nil {
		return err
	}
	log, err := wal.Create(f.logFolder, f.begin, f.logOptions)
	if err != nil {
		return err
	}
	err = f.fillLog(log)
	return errors.Join(err, log.Close())
}

func (f *fetch) fillLog(log *wal.Log) error {
	var pending []byte
	for log.End() < f.until {
		fr, err := f.next()
		if err != nil {
			return err
		}
		p := fr.parse()
		at := p.u64()
		if fr.kind != frameLog || !p.ok || at != log.End()+uint64(len(pending)) {
			return errFrame
		}
		f.progress.done.Add(int64(len(p.b)))
		pending = append(pending, p.b...)
		if pending, err = log.AppendRaw(pending); err != nil {
			return err
		}
	}
	return log.Sync()
}

func remoteError(f *frame) error {
	text := f.payload[:min(len(f.payload), 512)]
	return fmt.Errorf("replication: the primary says: %q", text)
}

func syncFolder(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
