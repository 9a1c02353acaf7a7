package replication

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairndb/cairn/engine"
	wal "github.com/cairndb/cairn/engine/log"
)

// linkState is what a replica is doing, with Redis's names (ROLE).
type linkState int32

const (
	linkConnect linkState = iota
	linkConnecting
	linkHandshake
	linkSync
	linkConnected
)

func (s linkState) String() string {
	return [...]string{"connect", "connecting", "handshake", "sync", "connected"}[s]
}

const (
	// ackPeriod is the longest pause between two acknowledgements.
	ackPeriod = 100 * time.Millisecond
	// maxReplyLine bounds the primary's answers before the frames begin.
	maxReplyLine = 4 << 10
	minBackoff   = 100 * time.Millisecond
	maxBackoff   = 5 * time.Second
	// maxDiverged is how often the primary's log may prove unusable before everything is fetched.
	maxDiverged = 3
)

var errRetry = errors.New("replication: connect again")

// link is a replica's side: it connects to the primary again and again until it is stopped.
type link struct {
	m    *Manager
	host string
	port int

	state    atomic.Int32
	lastIO   atomic.Int64 // unix nanoseconds
	downAt   atomic.Int64
	received atomic.Uint64
	// full is set when only a full sync can help; diverged counts the streams in a row that did not continue the log.
	full     bool
	diverged int
	// ahead is set when the log parts from the primary's and can't just be cut; repairs counts what was tried then.
	ahead   bool
	repairs int

	mu      sync.Mutex
	fresh   freshness
	sync    *progress // of the running full sync, or nil
	lastErr error

	cancel context.CancelFunc
	done   chan struct{}
}

// freshness tells how stale a replica's data may be. A ping may have been on its way for any time, so it counts for the moment at which the
// acknowledgement left here that the primary had got before: clocks of two nodes are never compared.
type freshness struct {
	// awaited is what the primary had at the time asOf, which is zero when nothing is awaited. A later ping counts when this is there, or
	// a replica that is always a little behind would never be fresh.
	awaited engine.Offset
	asOf    time.Time
	freshAt time.Time // everything that the primary had at this time is applied
}

// ping notes what the primary had at a time; applied notes what is applied here.
func (f *freshness) ping(end engine.Offset, asOf time.Time) {
	if f.asOf.IsZero() {
		f.awaited, f.asOf = end, asOf
	}
}

func (f *freshness) applied(end engine.Offset) {
	if f.asOf.IsZero() || end < f.awaited {
		return
	}
	if f.asOf.After(f.freshAt) {
		f.freshAt = f.asOf
	}
	f.asOf = time.Time{}
}

func (l *link) start() {
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel, l.done = cancel, make(chan struct{})
	l.downAt.Store(time.Now().UnixNano())
	go func() {
		defer close(l.done)
		l.run(ctx)
	}()
}

func (l *link) stop() {
	l.cancel()
	<-l.done
}

// run connects until ctx ends.
func (l *link) run(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		l.state.Store(int32(linkConnect))
		began := time.Now()
		err := l.connect(ctx)
		if wasUp := linkState(l.state.Swap(int32(linkConnect))) == linkConnected; wasUp {
			l.downAt.Store(time.Now().UnixNano())
			failures = 0
		}
		if ctx.Err() != nil {
			return
		}
		l.mu.Lock()
		l.sync = nil
		l.lastErr = err
		l.mu.Unlock()
		if errors.Is(err, errRetry) {
			continue
		}
		l.m.o.Logger.Warn("replication: no link to the primary", "primary", l.address(), "err", err, "after", time.Since(began))
		_ = sleep(ctx, backoff(failures))
		failures++
	}
}

// backoff is the pause after so many failures in a row, with some randomness so that replicas spread.
func backoff(failures int) time.Duration {
	d := min(maxBackoff, minBackoff<<min(failures, 10))
	return d/2 + rand.N(d/2)
}

func (l *link) address() string { return net.JoinHostPort(l.host, strconv.Itoa(l.port)) }

// connect is one connection, from dialing to its end.
func (l *link) connect(ctx context.Context) error {
	l.state.Store(int32(linkConnecting))
	dialCtx, cancel := context.WithTimeout(ctx, l.m.timeout())
	conn, err := l.m.o.Dial(dialCtx, l.address())
	cancel()
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	l.state.Store(int32(linkHandshake))
	c := &linkConn{
		l: l, conn: conn, store: l.m.Store(), buffered: bufio.NewReaderSize(conn, 2*chunkSize),
		w: &frameWriter{conn: conn, timeout: l.m.timeout}, ack: make(chan byte, 1), began: time.Now(),
	}
	c.in = newFrameReader(conn, c.buffered, l.m.timeout)
	if err := c.handshake(); err != nil {
		return err
	}
	return c.follow(ctx)
}

// linkConn is one connection to the primary.
type linkConn struct {
	l        *link
	conn     net.Conn
	store    *engine.Store
	buffered *bufio.Reader
	in       *frameReader
	w        *frameWriter
	ack      chan byte // flags of an acknowledgement asked for
	pending  []byte    // the beginning of a record
	need     int       // its size, 0 if not known
	// goal is what the primary had when the stream began, as its first ping says; the link is up when that is applied.
	goal   engine.Offset
	pinged bool
	began  time.Time // stamps are counted from here
}

func (c *linkConn) handshake() error {
	m := c.l.m
	set := m.settings.Load()
	if set.Password != "" {
		args := []string{"AUTH", set.Password}
		if set.User != "" {
			args = []string{"AUTH", set.User, set.Password}
		}
		if err := c.command(args, "+OK"); err != nil {
			return err
		}
	}
	if _, err := c.store.Log().Flush(); err != nil {
		return err
	}
	log := c.store.Log()
	h := hello{nodeID: m.o.NodeID, port: set.Port, addr: set.Address, s2: true, full: c.l.full}
	h.end, h.link = log.Tail()
	h.terms = log.Terms()
	return c.command(h.args(), greeting)
}

// command sends a command and expects a reply of one line.
func (c *linkConn) command(args []string, want string) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if err := c.conn.SetDeadline(time.Now().Add(c.l.m.timeout())); err != nil {
		return err
	}
	if _, err := c.conn.Write(b.Bytes()); err != nil {
		return err
	}
	line, err := readLine(c.buffered)
	if err != nil {
		return err
	}
	c.touch()
	if line != want {
		return refusal(args[0], line)
	}
	return nil
}

// refusal is the error for an answer that is not the wanted one.
func refusal(command, line string) error {
	err := fmt.Errorf("replication: the primary answers %s with %q", command, line)
	if strings.HasPrefix(line, "-NOAUTH") || strings.HasPrefix(line, "-WRONGPASS") || command == "AUTH" {
		return fmt.Errorf("%w: masterauth has to be the primary's requirepass", err)
	}
	return err
}

// readLine reads a line of bounded length.
func readLine(in *bufio.Reader) (string, error) {
	var line []byte
	for len(line) < maxReplyLine {
		b, err := in.ReadByte()
		if err != nil {
			return "", noEOF(err)
		}
		if b == '\n' {
			return strings.TrimSuffix(string(line), "\r"), nil
		}
		line = append(line, b)
	}
	return "", errors.New("replication: the primary's answer is too long")
}

func (c *linkConn) touch() { c.l.lastIO.Store(time.Now().UnixNano()) }

// follow does what the primary decides.
func (c *linkConn) follow(ctx context.Context) error {
	f, err := c.in.next()
	if err != nil {
		return err
	}
	c.touch()
	p := f.parse()
	mode, off := mode(p.u8()), p.u64()
	switch {
	case f.kind == frameError:
		return remoteError(&f)
	case f.kind != frameDecision || !p.ok:
		return errFrame
	}
	c.l.m.notice("replication: connected to the primary", "primary", c.l.address(), "mode", mode.String(), "offset", off)
	if mode == modeRewind && !c.l.ahead {
		_ = c.conn.Close()
		return c.rewind(ctx, off)
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		c.acknowledge(ctx)
	}()
	finish := c.install
	switch {
	case mode == modeRewind:
		err, finish = c.fetchSlots(ctx, off), c.repair
	case mode == modeFull:
		err = c.fetchAll(ctx)
	case mode == modePartial && off == c.store.End():
		err = c.stream(ctx)
	default:
		err = errFrame
	}
	cancel()
	_ = c.conn.Close()
	wg.Wait()
	if err == nil {
		return finish(ctx)
	}
	if !errors.Is(err, engine.ErrDiverged) {
		c.l.diverged = 0
	} else if c.l.diverged++; c.l.diverged >= maxDiverged {
		c.l.full = true
	}
	return err
}

// stream applies what comes until the connection breaks. Until all is there that the primary had at the beginning, this is a sync like the full one: the
// link is not up, and a store that was empty serves nothing (Filling).
func (c *linkConn) stream(ctx context.Context) error {
	c.l.state.Store(int32(linkSync))
	c.l.agrees()
	if c.store.End() == 0 {
		c.l.m.filling.Store(true)
	}
	c.l.mu.Lock()
	c.l.fresh.asOf = time.Time{} // what another connection has announced may never come
	c.l.mu.Unlock()
	c.askAck(flagAckWritten) // the ping that answers it tells how fresh this node is
	for {
		f, err := c.in.next()
		if err != nil {
			return err
		}
		c.touch()
		switch f.kind {
		case frameLog:
			err = c.apply(ctx, &f)
		case framePing:
			err = c.notePing(&f)
		case frameError:
			err = remoteError(&f)
		default:
			err = errFrame
		}
		if err != nil {
			return err
		}
		c.arrive()
		if f.flags&^flagS2 != 0 {
			c.askAck(f.flags)
		}
	}
}

// arrive takes the link for up when the stream has reached its goal.
func (c *linkConn) arrive() {
	if c.pinged && c.store.End() >= c.goal && linkState(c.l.state.Load()) == linkSync {
		c.l.m.filling.Store(false)
		c.l.state.Store(int32(linkConnected))
	}
}

func (c *linkConn) notePing(f *frame) error {
	p := f.parse()
	end, stamp, behind := p.u64(), time.Duration(p.u64()), time.Duration(p.u64())
	if !p.ok || stamp < 0 || stamp > time.Since(c.began) {
		return errFrame
	}
	if !c.pinged {
		c.pinged, c.goal = true, end
	}
	if stamp == 0 || behind < 0 {
		return nil
	}
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.l.fresh.applied(c.store.End())
	c.l.fresh.ping(end, c.began.Add(stamp-behind))
	c.l.fresh.applied(c.store.End())
	return nil
}

// apply appends and applies whole records; the beginning of another one waits for the rest.
func (c *linkConn) apply(ctx context.Context, f *frame) error {
	p := f.parse()
	at := p.u64()
	if !p.ok || at != c.store.End()+uint64(len(c.pending)) {
		return fmt.Errorf("%w: a piece of the log at the wrong offset", errFrame)
	}
	c.l.received.Add(uint64(len(p.b)))
	raw := p.b
	if len(c.pending) > 0 {
		c.pending = append(c.pending, raw...)
		raw = c.pending
	}
	if len(raw) < c.need {
		return nil
	}
	n, need, err := c.store.ApplyReplicated(ctx, raw)
	if err != nil {
		return err
	}
	c.need = need
	c.pending = append(c.pending[:0], raw[n:]...)
	if cap(c.pending) > 4*chunkSize && len(c.pending) == 0 {
		c.pending = nil
	}
	if n == 0 {
		return nil
	}
	if _, err := c.store.Log().Flush(); err != nil {
		return err
	}
	c.l.mu.Lock()
	c.l.fresh.applied(c.store.End())
	c.l.mu.Unlock()
	return nil
}

// askAck makes the other goroutine acknowledge what is applied now, without waiting for it.
func (c *linkConn) askAck(flags byte) {
	for {
		select {
		case c.ack <- flags:
			return
		case old := <-c.ack:
			flags |= old
		}
	}
}

// acknowledge tells the primary now and then, and when asked, what is written, stable and synced.
func (c *linkConn) acknowledge(ctx context.Context) {
	tick := time.NewTicker(ackPeriod)
	defer tick.Stop()
	log := c.store.Log()
	for {
		var flags byte
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case flags = <-c.ack:
		}
		end := log.End()
		if err := c.sendAck(); err != nil {
			_ = c.conn.Close()
			return
		}
		switch {
		case flags&flagAckSynced != 0 && log.Synced() < end:
			if log.Sync() == nil && c.sendAck() != nil {
				_ = c.conn.Close()
				return
			}
		case flags&flagAckStable != 0 && log.Stable() < end:
			log.OnStable(end, func(err error) {
				if err == nil {
					c.tryAskAck()
				}
			})
		}
	}
}

// tryAskAck is askAck for a callback: if another one is asked for already, that will do.
func (c *linkConn) tryAskAck() {
	select {
	case c.ack <- flagAckWritten:
	default:
	}
}

func (c *linkConn) sendAck() error {
	log := c.store.Log()
	synced, stamp := log.Synced(), uint64(time.Since(c.began))
	return c.w.write(frameAck, 0, u64(log.Written()), u64(log.Stable()), u64(synced), u64(stamp))
}

// rewind cuts the log where it parts from the primary's, or else asks for the slots that differ, or for a full sync.
func (c *linkConn) rewind(ctx context.Context, to engine.Offset) error {
	err := c.l.m.replace(ctx, func(dir string, o engine.Options) error {
		err := engine.Rewind(dir, to, o)
		if err == nil && to == 0 {
			c.l.m.filling.Store(true) // before the store is used again
		}
		return err
	})
	switch {
	case err == nil:
		c.l.forgetFreshness()
		c.l.m.notice("replication: the log was cut where it parts from the primary's", "offset", to)
		c.l.m.rewinds.Add(1)
		return errRetry
	case errors.Is(err, engine.ErrAhead) && to > 0:
		c.l.ahead = true
		return errRetry
	case errors.Is(err, engine.ErrAhead) || errors.Is(err, wal.ErrDropped) || errors.Is(err, wal.ErrNotBoundary):
		c.l.m.notice("replication: the log can't be cut where it parts from the primary's", "offset", to, "err", err)
		c.l.full = true
		return errRetry
	}
	return err
}

// fetchAll fetches everything anew.
func (c *linkConn) fetchAll(ctx context.Context) error {
	m, began := c.l.m, time.Now()
	f := c.newFetch(ctx)
	p := f.progress
	err := f.run()
	m.fetched.Add(uint64(p.done.Load()))
	m.reused.Add(uint64(p.reused.Load()))
	if err != nil {
		return err
	}
	m.notice("replication: full sync is complete", "bytes", p.done.Load(), "reused", p.reused.Load(), "took", time.Since(began))
	return nil
}

// newFetch prepares a full sync, or one of slots.
func (c *linkConn) newFetch(ctx context.Context) *fetch {
	m := c.l.m
	c.l.state.Store(int32(linkSync))
	p := &progress{}
	c.l.mu.Lock()
	c.l.sync = p
	c.l.mu.Unlock()
	store, log := engine.Incoming(m.o.Dir, m.o.FS)
	f := &fetch{
		fs: m.o.FS, folder: store, logFolder: log, in: c.in, w: c.w, progress: p, buf: make([]byte, chunkSize), ctx: ctx,
		logOptions: wal.Options{FS: m.o.FS, SegmentSize: m.o.LogSegmentBytes, Policy: wal.No, Logger: m.o.Logger},
	}
	told := time.Now()
	f.onNext = func() {
		c.touch()
		if now := time.Now(); now.Sub(told) > progressPeriod {
			told = now
			m.notice("replication: fetching", "done", p.done.Load()+p.reused.Load(), "total", p.total.Load())
		}
	}
	return f
}

const progressPeriod = 5 * time.Second

// install replaces the store by what was fetched.
func (c *linkConn) install(ctx context.Context) error {
	if err := c.l.m.replace(ctx, engine.Install); err != nil {
		return err
	}
	c.l.full, c.l.diverged = false, 0
	c.l.agrees()
	c.l.forgetFreshness()
	c.l.m.filling.Store(false)
	return errRetry
}

// forgetFreshness: the data is another one, and may be older than what was there.
func (l *link) forgetFreshness() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fresh = freshness{}
}
