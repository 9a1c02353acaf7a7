package replication

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairndb/cairn/engine"
	wal "github.com/cairndb/cairn/engine/log"
)

// sessionState is Redis's name for what a replica is doing (INFO replication).
type sessionState int32

const (
	stateWaitCheckpoint sessionState = iota
	stateSendFiles
	stateOnline
)

func (s sessionState) String() string {
	return [...]string{"wait_bgsave", "send_bulk", "online"}[s]
}

// heartbeat is the longest pause between two pings, so that a replica knows how stale it is.
const heartbeat = 500 * time.Millisecond

// session is a replica's connection, on the primary's side. Two goroutines: one sends, the other reads acknowledgements; a third
// pings.
type session struct {
	m     *Manager
	store *engine.Store
	conn  net.Conn
	hello hello
	w     *frameWriter
	ask   chan struct{} // somebody waits for an acknowledgement

	state   atomic.Int32
	lastAck atomic.Int64  // unix nanoseconds
	stamp   atomic.Uint64 // of the last acknowledgement, by the replica's clock
	sentEnd atomic.Uint64
	// haves are what the replica has of a checkpoint's files.
	haves chan []have
	// repairs are the slots that the replica asks for when it can't just cut its log.
	repairs chan []uint16
	hold    *wal.Hold
	buf     []byte

	progress progress
}

// HandleSync serves a replica that has sent Command with these arguments (without the name), until the connection ends or the manager
// closes it. It takes over conn, of which nothing behind the command was read, and closes it.
func (m *Manager) HandleSync(conn net.Conn, args [][]byte) error {
	defer conn.Close()
	h, err := parseHello(args)
	if err != nil {
		m.refuse(conn, "ERR "+err.Error())
		return err
	}
	s := &session{
		m: m, conn: conn, hello: h,
		ask: make(chan struct{}, 1), haves: make(chan []have, 1), repairs: make(chan []uint16, 1), buf: make([]byte, chunkSize),
		w: &frameWriter{conn: conn, timeout: m.timeout, compress: h.s2 && m.compressFor(conn)},
	}
	ctx, done, err := m.register(s)
	if err != nil {
		m.refuse(conn, "LOADING the dataset is being replaced or the node stops")
		return err
	}
	defer done()
	err = s.run(ctx)
	m.notice("replication: replica is gone", "replica", h.nodeID, "err", err)
	return err
}

func (m *Manager) refuse(conn net.Conn, reply string) {
	_ = conn.SetWriteDeadline(time.Now().Add(m.timeout()))
	_, _ = conn.Write([]byte("-" + reply + "\r\n"))
}

// run decides and sends, while other goroutines read and ping.
func (s *session) run(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer s.conn.Close()
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { _ = s.conn.Close() })
	defer stop()
	if err := s.greet(); err != nil {
		return err
	}
	d, err := s.decide()
	if err != nil {
		return err
	}
	s.m.notice("replication: replica connects", "replica", s.hello.nodeID, "address", s.conn.RemoteAddr().String(),
		"mode", d.mode.String(), "offset", d.offset, "reason", d.reason)
	s.lastAck.Store(time.Now().UnixNano())
	for _, fn := range []func(context.Context) error{s.receive, s.ping} {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := fn(ctx); err != nil {
				cancel(err)
			}
		}()
	}
	err = s.serve(ctx, d)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	if err != nil {
		_ = s.w.write(frameError, 0, []byte(err.Error()))
	}
	return err
}

func (s *session) greet() error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.m.timeout())); err != nil {
		return err
	}
	_, err := s.conn.Write([]byte(greeting + "\r\n"))
	return err
}

// decide compares positions and holds the log where the stream will begin.
func (s *session) decide() (decision, error) {
	log := s.store.Log()
	if _, err := log.Flush(); err != nil {
		return decision{}, err
	}
	own := position{start: log.Start(), end: log.Written(), terms: log.Terms()}
	d := decide(own, &s.hello, log.LinkAt)
	if d.mode != modeFull { // whoever has to cut its log comes again for what is behind
		var err error
		if s.hold, err = log.Hold(d.offset); err != nil {
			d = decision{modeFull, 0, err.Error()}
		}
	}
	switch d.mode {
	case modePartial:
		s.m.partialOK.Add(1)
	case modeFull:
		s.m.fullSyncs.Add(1)
		if len(s.hello.terms) > 0 {
			s.m.partialErr.Add(1)
		}
	}
	return d, s.w.write(frameDecision, 0, []byte{byte(d.mode)}, u64(d.offset))
}

func (s *session) serve(ctx context.Context, d decision) error {
	switch d.mode {
	case modePartial:
		return s.stream(ctx, d.offset)
	case modeFull:
		return s.sendFull(ctx)
	}
	select {
	case <-ctx.Done(): // the replica hangs up, cuts its log and comes again
		return nil
	case slots := <-s.repairs:
		return s.sendSlots(ctx, d.offset, slots)
	}
}

// stream sends the log from an offset on, as it grows.
func (s *session) stream(ctx context.Context, from engine.Offset) error {
	in, err := s.store.Log().ReadRaw(from)
	if err != nil {
		return err
	}
	defer in.Close()
	s.state.Store(int32(stateOnline))
	s.m.acks.join(s)
	defer s.m.acks.leave(s)
	if err := s.sendPing(0); err != nil { // tells the replica how far it has to come
		return err
	}
	grown := make(chan error, 1)
	for {
		more, err := s.sendLog(in)
		if err != nil {
			return err
		}
		if more {
			continue
		}
		s.store.Log().OnWritten(in.Offset()+1, func(err error) { grown <- err })
	idle:
		for {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case err := <-grown:
				if err != nil {
					return err
				}
				break idle
			case <-s.ask:
				if err := s.sendPing(s.m.acks.wanted()); err != nil {
					return err
				}
			}
		}
	}
}

// sendLog sends what there is, up to a chunk. It reports false at the end of the log.
func (s *session) sendLog(in *wal.RawReader) (more bool, err error) {
	at := in.Offset()
	n, err := in.Read(s.buf)
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := s.w.write(frameLog, s.m.acks.wanted(), u64(at), s.buf[:n]); err != nil {
		return false, err
	}
	s.sentEnd.Store(at + uint64(n))
	return true, nil
}

// moveHold lets go what the replica has acknowledged, and all of it when it is too far behind.
func (s *session) moveHold() {
	acked := s.m.acks.of(s)[Written]
	s.hold.Move(acked)
	if limit := s.m.settings.Load().MaxHeld; limit > 0 && s.store.Log().Written()-s.hold.Offset() > limit {
		s.hold.Release()
	}
}

// ping tells how far the log is written.
func (s *session) ping(ctx context.Context) error {
	for {
		if err := sleep(ctx, min(heartbeat, s.m.settings.Load().PingPeriod)); err != nil {
			return nil
		}
		// What nobody waits for is written now and then, not at once.
		if _, err := s.store.Log().Flush(); err != nil && !errors.Is(err, wal.ErrStalled) {
			return err
		}
		if err := s.sendPing(0); err != nil {
			return err
		}
		if s.online() {
			s.moveHold()
		}
	}
}

func (s *session) online() bool { return sessionState(s.state.Load()) == stateOnline }

// sendPing tells how far the log is written, which of the replica's acknowledgements came last before that, and how old this node's own data may be.
func (s *session) sendPing(flags byte) error {
	echo, behind := s.stamp.Load(), time.Duration(0)
	if s.store.Following() {
		_, behind = s.m.Link()
	}
	end := s.store.Log().Written() // last, so that what the others promise is in it
	return s.w.write(framePing, flags, u64(end), u64(echo), u64(uint64(behind)))
}

// askNow makes the session ask its replica for an acknowledgement.
func (s *session) askNow() {
	select {
	case s.ask <- struct{}{}:
	default:
	}
}

// receive reads what the replica says.
func (s *session) receive(ctx context.Context) error {
	in := newFrameReader(s.conn, bufio.NewReader(s.conn), s.m.timeout)
	var haves []have
	for {
		f, err := in.next()
		if err != nil {
			return fmt.Errorf("replication: reading from the replica: %w", err)
		}
		s.lastAck.Store(time.Now().UnixNano())
		switch f.kind {
		case frameAck:
			p := f.parse()
			state := ackState{p.u64(), p.u64(), p.u64()}
			stamp := p.u64()
			if !p.ok {
				return errFrame
			}
			if s.stamp.Swap(stamp) == 0 {
				s.askNow() // the answer tells the replica for the first time how fresh it is
			}
			if end := s.sentEnd.Load(); s.online() {
				for l := range state {
					state[l] = min(state[l], max(end, s.hello.end))
				}
				s.m.acks.update(s, state)
			}
		case frameHave:
			more, last, err := parseHaves(&f)
			if err != nil || len(haves)+len(more) > maxFiles {
				return errFrame
			}
			if haves = append(haves, more...); last {
				select {
				case s.haves <- haves:
				case <-ctx.Done():
					return nil
				}
				haves = nil
			}
		case frameRepair:
			if len(f.payload) != engine.SlotSetBytes {
				return errFrame
			}
			select {
			case s.repairs <- engine.DecodeSlotSet(f.payload):
			default:
				return errFrame
			}
		default:
			return errFrame
		}
	}
}
