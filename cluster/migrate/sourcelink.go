package migrate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

var errNoAnswer = errors.New("the target has not answered in time")

// sourceLink is the source's end of a link: a goroutine takes the answers in, another one shows that the source lives.
type sourceLink struct {
	l    *link
	j    *job
	stop context.CancelFunc
	ctx  context.Context
	wg   sync.WaitGroup

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when something has come
	last    [256]uint64   // by kind: 1 + the number that came last
	err     error
}

func newSourceLink(m *Manager, j *job, conn net.Conn) *sourceLink {
	s := &sourceLink{l: newLink(conn), j: j, changed: make(chan struct{})}
	s.ctx, s.stop = context.WithCancel(m.ctx)
	context.AfterFunc(s.ctx, func() { _ = conn.Close() })
	s.wg.Go(s.read)
	s.wg.Go(func() { keepAlive(s.ctx, s.l, frameHere) })
	return s
}

// keepAlive shows the other side that this one lives.
func keepAlive(ctx context.Context, l *link, kind byte) {
	for pause(ctx, linkPace) == nil {
		if _, err := l.write(kind); err != nil {
			return
		}
	}
}

func (s *sourceLink) close() {
	s.stop()
	s.wg.Wait()
}

func (s *sourceLink) read() {
	for {
		kind, payload, err := s.l.read()
		if err == nil {
			err = s.take(kind, payload)
		}
		if err != nil {
			s.mu.Lock()
			s.err = err
			close(s.changed)
			s.changed = make(chan struct{})
			s.mu.Unlock()
			s.stop()
			return
		}
	}
}

func (s *sourceLink) take(kind byte, payload []byte) error {
	s.j.heard()
	n := uint64(0)
	switch kind {
	case frameAlive:
		return nil
	case frameRefuse:
		if len(payload) < 1 || len(payload) > 1+maxText {
			return errFrame
		}
		err := fmt.Errorf("the target refuses: %s", payload[1:])
		if payload[0] == 0 {
			err = fatal{err}
		}
		return err
	case frameMarked:
		var ok bool
		if n, ok = parseNumber(payload); !ok {
			return errFrame
		}
	case frameAccept, frameEnded:
	default:
		return errFrame
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last[kind] = max(s.last[kind], n+1)
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

// send writes a frame, and says why the link has ended if it has.
func (s *sourceLink) send(kind byte, payload []byte) error {
	if _, err := s.l.write(kind, payload); err != nil {
		return s.why(err)
	}
	return nil
}

// why is the reason for a failed write: what the target has said before it ended the link.
func (s *sourceLink) why(err error) error {
	s.stop()
	s.wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := (fatal{}); errors.As(s.err, &f) {
		return s.err
	}
	return err
}

// wait waits for an answer of a kind with at least the number.
func (s *sourceLink) wait(ctx context.Context, patience time.Duration, kind byte, number uint64) (uint64, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		s.mu.Lock()
		last, err, changed := s.last[kind], s.err, s.changed
		s.mu.Unlock()
		switch {
		case last > number:
			return last - 1, nil
		case err != nil:
			return 0, err
		}
		select {
		case <-changed:
		case <-timer.C:
			return 0, errNoAnswer
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}
