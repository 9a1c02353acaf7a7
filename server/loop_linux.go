package server

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	wal "github.com/cairndb/cairn/engine/log"
	"golang.org/x/sys/unix"
)

const (
	maxEvents = 512
	// cronEvery is the resolution of timeouts, soft limits and retries.
	cronEvery = 100 * time.Millisecond
	// maxAccepts bounds the connections accepted in a row, so that a flood does not starve those that are served.
	maxAccepts = 64
)

// loop is one epoll loop. It owns the connections that it has accepted, but for those at a worker.
//
// A wake reads each ready connection once, runs what has arrived, and settles: one commit, one write to the log, one
// write to each socket. Sockets are registered level-triggered; interest in reading is only taken back when an event
// arrives that must not be served now, so the usual request costs no epoll_ctl.
type loop struct {
	srv    *Server
	driver *epollDriver
	x      *executor
	epfd   int
	wake   int // eventfd

	conns     []*conn // by descriptor
	open      int
	gen       int32
	listeners []*listener // of the first loop

	now      time.Time
	lastCron time.Time
	input    []byte
	buffers  [][]byte

	dirty  []*conn // have run in this wake
	again  []*conn // have requests left to run
	parked []*conn // wait until the log is stable
	paused []*conn // wait for the end of CLIENT PAUSE

	pauseWatch sync.WaitGroup
	watching   bool
	ackWatch   atomic.Bool // OnAcked has been asked to call
	handedOver bool        // to a worker in this wake

	draining, drained bool

	notified atomic.Bool
	resumed  atomic.Bool // the pause may have ended
	drain    atomic.Bool
	force    atomic.Bool
	logErr   atomic.Pointer[error]

	mu    sync.Mutex // guards the rest
	inbox []message
	ended bool // the descriptors are closed
}

// message is what others tell the loop about a connection.
type message struct {
	c    *conn
	kind messageKind
	v    verdict
}

type messageKind uint8

const (
	adopted  messageKind = iota // accepted by another loop
	returned                    // by its worker, with the verdict
	released                    // what it waited for after the verdict held has ended, or it has to look at its keys again
	served                      // its request was run by somebody else
	kill                        // CLIENT KILL
)

// phase says who has a connection.
type phase uint8

const (
	serving  phase = iota // the loop, which may read it
	working               // a worker
	waiting               // the loop; its replies wait for the log
	pausing               // the loop; its next request waits for the end of CLIENT PAUSE, or of what holds it
	blocking              // who serves it; its next request waits for keys
)

// epollConn is what a loop keeps of a connection.
type epollConn struct {
	loop     *loop
	fd       int
	gen      int32 // tells a late event for an earlier connection with the same descriptor
	events   uint32
	phase    phase
	v        verdict
	dirty    bool
	queued   bool      // in loop.again
	eof      bool      // the peer sends no more
	parkedAt time.Time // since when it waits for the log
	finish   bool      // close when the replies are sent
	gone     bool
}

type listener struct {
	file   *os.File
	fd     int
	local  net.Addr
	resume time.Time // accepting is suspended until then (no descriptors left)
}

func newLoop(s *Server) (*loop, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(epfd)
		return nil, os.NewSyscallError("eventfd", err)
	}
	l := &loop{srv: s, x: s.newExecutor(false), epfd: epfd, wake: wake, input: make([]byte, inputBuffer)}
	// Edge-triggered: each notification wakes once, and nobody has to read the counter.
	if err := l.ctl(unix.EPOLL_CTL_ADD, wake, 0, unix.EPOLLIN|unix.EPOLLET); err != nil {
		l.closeFDs()
		return nil, err
	}
	return l, nil
}

func (l *loop) closeFDs() {
	_ = unix.Close(l.epfd)
	_ = unix.Close(l.wake)
}

func (l *loop) ctl(op, fd int, gen int32, events uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(fd), Pad: gen}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(l.epfd, op, fd, &ev))
}

// notify wakes the loop from any goroutine.
func (l *loop) notify() {
	if !l.notified.CompareAndSwap(false, true) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		_, _ = unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
}

// post puts a message into the inbox.
func (l *loop) post(m message) {
	l.mu.Lock()
	l.inbox = append(l.inbox, m)
	l.mu.Unlock()
	l.notify()
}

// run serves until the loop is drained.
func (l *loop) run() {
	events := make([]unix.EpollEvent, maxEvents)
	for !l.drained {
		l.turn(events)
	}
	l.pauseWatch.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.closeFDs()
}

// turn serves one wake.
func (l *loop) turn(events []unix.EpollEvent) {
	n := l.wait(events)
	if l.x.enter() {
		l.parkedLost()
	}
	defer l.x.leave()
	l.now = time.Now()
	for i := range events[:n] {
		l.event(&events[i])
	}
	l.gather(events)
	if l.notified.Load() {
		l.notified.Store(false)
		l.receive()
	}
	l.runAgain()
	l.settle()
	l.shed()
	if l.now.Sub(l.lastCron) >= cronEvery {
		l.lastCron = l.now
		l.cron()
	}
	if l.drain.Load() {
		l.drainStep()
	}
}

// wait blocks in epoll_wait through the Go runtime's entersyscall, so that other goroutines get the processor.
func (l *loop) wait(events []unix.EpollEvent) int {
	timeout := int(cronEvery / time.Millisecond)
	if len(l.again) > 0 {
		timeout = 0
	} else if l.handedOver {
		l.handedOver = false
		runtime.Gosched() // lets the workers start before this thread sleeps on its processor
	}
	n, err := unix.EpollWait(l.epfd, events, timeout)
	if err != nil && err != unix.EINTR {
		l.srv.log.Error("epoll_wait failed", "err", err)
	}
	return max(n, 0)
}

// gather lets those join the group who have sent something meanwhile, as the sync that its replies wait for (appendfsync
// always) costs the same for all of them.
func (l *loop) gather(events []unix.EpollEvent) {
	for len(l.x.members) > 0 && !l.x.large() && l.x.store.Log().Policy() == wal.Always {
		before := len(l.dirty)
		n, _ := unix.EpollWait(l.epfd, events, 0)
		for i := range events[:max(n, 0)] {
			l.event(&events[i])
		}
		if len(l.dirty) == before {
			return
		}
	}
}

func (l *loop) event(ev *unix.EpollEvent) {
	fd := int(ev.Fd)
	if fd == l.wake {
		return
	}
	for _, ln := range l.listeners {
		if ln.fd == fd {
			l.accept(ln)
			return
		}
	}
	c := l.at(fd)
	if c == nil || c.gen != ev.Pad {
		return
	}
	broken := ev.Events&(unix.EPOLLERR|unix.EPOLLHUP) != 0
	switch {
	case c.phase == working && broken: // would be reported for ever
		c.killed.Store(true)
		_ = l.ctl(unix.EPOLL_CTL_DEL, fd, 0, 0)
		c.events = 0
		return
	case c.dirty: // has run in this wake, see gather
		return
	case c.phase == blocking:
		l.blockedEvent(c, ev.Events)
		return
	case c.phase != serving && broken:
		l.close(c)
		return
	case c.phase != serving:
		l.rest(c, ev.Events)
		return
	case ev.Events&unix.EPOLLOUT != 0:
		l.send(c)
	}
	if c.gone {
		return
	}
	if ev.Events&(unix.EPOLLIN|unix.EPOLLERR|unix.EPOLLHUP) == 0 {
		l.arm(c, c.events)
		return
	}
	switch {
	case !c.finish && !c.eof && !c.more && !l.draining && l.srv.mayContinue(c):
		l.read(c)
	case broken:
		l.close(c)
	default:
		l.arm(c, c.events&^unix.EPOLLIN)
	}
}

// rest answers an event for a connection that is not served now. What has been rendered before a pause is sent; a
// worker's replies, and those that wait for the log, are sent when the connection comes back.
func (l *loop) rest(c *conn, events uint32) {
	if c.phase != pausing {
		l.arm(c, c.events&^(unix.EPOLLIN|unix.EPOLLOUT))
		return
	}
	l.arm(c, c.events&^unix.EPOLLIN)
	if events&unix.EPOLLOUT != 0 {
		l.send(c)
	}
}

func (l *loop) at(fd int) *conn {
	if fd < len(l.conns) {
		return l.conns[fd]
	}
	return nil
}

// arm sets what a connection is registered for. The end of what the peer sends is asked for by itself only while nothing is read.
func (l *loop) arm(c *conn, events uint32) {
	if c.phase != blocking {
		events &^= unix.EPOLLRDHUP
	}
	if c.events == events || c.gone {
		return
	}
	if err := l.ctl(unix.EPOLL_CTL_MOD, c.fd, c.gen, events); err == nil {
		c.events = events
	}
}

// read takes what has arrived, up to the input buffer, and runs it.
func (l *loop) read(c *conn) {
	c.reader.Lend(l.input)
	n, errno := rawRead(c.fd, c.reader.Space(0))
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
		c.reader.Reclaim()
		return
	case errno != 0:
		l.close(c)
		return
	case n == 0:
		c.reader.Reclaim()
		c.eof = true
		if c.pending() == 0 {
			l.close(c)
		} else {
			l.arm(c, c.events&^unix.EPOLLIN)
		}
		return
	}
	c.reader.Filled(n)
	st := l.srv.node.Stats
	st.NetInput.Add(uint64(n))
	st.Reads.Add(1)
	c.LastActive.Store(l.now.UnixMilli())
	l.process(c)
}

// process runs the requests that the reader holds; their replies are sent when the wake settles.
func (l *loop) process(c *conn) {
	if c.Out.Buf == nil {
		c.Out.Buf = l.buffer()
	}
	c.setLimits(l.x.node)
	c.v = l.x.run(c)
	c.reader.Reclaim()
	if c.v == blocked { // nothing is left to send
		l.recycle(c)
		c.publishBuffers()
		l.block(c)
		return
	}
	if !c.dirty {
		c.dirty = true
		l.dirty = append(l.dirty, c)
	}
	if c.v == full && l.x.large() {
		l.settle()
	}
}

// settle commits the group and sends, parks or hands over everyone who has run.
func (l *loop) settle() {
	if len(l.dirty) == 0 && l.x.commands == 0 {
		return
	}
	l.x.settle()
	err := l.flushLog()
	parkUntil := uint64(0)
	for i := 0; i < len(l.dirty); i++ {
		c := l.dirty[i]
		c.dirty = false
		switch {
		case c.gone:
		case c.v == cut:
			l.close(c)
		case err != nil && c.barrier > l.x.stable:
			c.fail(&c.unstable, mayStand(err))
			c.barrier = 0
			l.proceed(c)
		case c.v == wouldBlock:
			l.handOver(c)
		case l.x.awaits(c):
			c.phase = waiting
			c.parkedAt = l.now
			l.parked = append(l.parked, c)
			parkUntil = max(parkUntil, c.barrier)
		default:
			l.proceed(c)
		}
	}
	clear(l.dirty)
	l.dirty = l.dirty[:0]
	if parkUntil > l.x.stable {
		l.x.store.OnStable(parkUntil, l.onStable)
	}
	if parkUntil > 0 {
		l.watchAcks()
	}
}

// flushLog gives the log to the operating system if a reply depends on that.
func (l *loop) flushLog() error {
	for _, c := range l.dirty {
		if c.barrier > l.x.stable {
			stable, err := l.x.store.FlushLog()
			l.x.stable = stable
			return err
		}
	}
	return nil
}

// onStable is called from the log's goroutines.
func (l *loop) onStable(err error) {
	if err != nil {
		l.logErr.Store(&err)
	}
	l.notify()
}

// proceed sends the replies, which nothing holds back any more, and does what the verdict asks for.
func (l *loop) proceed(c *conn) {
	if !l.srv.mayReply(c) {
		l.close(c)
		return
	}
	c.final()
	c.phase = serving
	switch c.v {
	case cut:
		l.close(c)
		return
	case wouldBlock:
		l.handOver(c)
		return
	case closing, crashed:
		c.finish = true
	case taken:
		c.more = false
	}
	l.send(c)
	if c.gone || c.finish {
		return
	}
	switch c.v {
	case taken:
		l.release(c)
	case paused:
		c.phase = pausing
		c.Blocked.Store(true)
		l.paused = append(l.paused, c)
		l.watchPause()
	case held:
		c.phase = pausing
		c.Blocked.Store(true)
		l.watchHold(c)
	case blocked:
		l.block(c)
	}
}

// handOver gives the connection to a worker until its requests have run. Replies that wait for nothing are sent before.
func (l *loop) handOver(c *conn) {
	if !l.srv.mayReply(c) {
		l.close(c)
		return
	}
	ready := len(c.Out.Buf)
	if c.unstable.joined && l.x.awaits(c) {
		ready = c.unstable.start
	} else {
		c.final()
	}
	if !l.write(c, ready) {
		return
	}
	c.phase = working
	l.handedOver = true
	l.srv.workers.submit(job{c, l.giveBack})
}

func (l *loop) giveBack(c *conn, v verdict) { l.post(message{c, returned, v}) }

// write sends the replies up to end, as far as the socket takes them; false when it has closed the connection.
func (l *loop) write(c *conn, end int) bool {
	for c.sent < end {
		n, errno := rawWrite(c.fd, c.Out.Buf[c.sent:end])
		if errno == unix.EINTR {
			continue
		}
		if errno == unix.EAGAIN {
			break
		}
		if errno != 0 {
			l.close(c)
			return false
		}
		c.sent += n
		l.srv.node.Stats.NetOutput.Add(uint64(n))
		l.srv.node.Stats.Writes.Add(1)
	}
	l.srv.count(c)
	return true
}

// send writes what waits, and continues with requests that are left when enough of it is gone.
func (l *loop) send(c *conn) {
	if !l.write(c, len(c.Out.Buf)) {
		return
	}
	if c.pending() > 0 {
		l.lag(c)
		return
	}
	l.recycle(c)
	c.publishBuffers()
	if c.finish || c.eof && !c.more {
		l.close(c)
		return
	}
	if c.more { // the peer has sent more than is run at once
		l.resumeLater(c)
		return
	}
	l.arm(c, unix.EPOLLIN)
}

// lag keeps the rest of the replies of a peer that does not read them fast enough.
func (l *loop) lag(c *conn) {
	if l.srv.overLimit(c, l.now) {
		l.closeOverLimit(c)
		return
	}
	if c.sent > keepOutput && c.sent > len(c.Out.Buf)/2 {
		c.Out.Buf = c.Out.Buf[:copy(c.Out.Buf, c.Out.Buf[c.sent:])]
		c.sent = 0
	}
	c.publishBuffers()
	l.arm(c, c.events|unix.EPOLLOUT)
	if l.srv.mayContinue(c) {
		l.resumeLater(c)
	}
}

// resumeLater runs requests that are left in the reader in the next turn.
func (l *loop) resumeLater(c *conn) {
	if c.more && (c.v == full || c.v == unsent && c.pending() == 0) && !c.queued {
		c.queued = true
		l.again = append(l.again, c)
	}
}

func (l *loop) runAgain() {
	list := l.again
	l.again = nil
	for i, c := range list {
		list[i] = nil
		c.queued = false
		if !c.gone && c.phase == serving && !c.finish && l.srv.mayContinue(c) {
			l.process(c)
		}
	}
	if l.again == nil {
		l.again = list[:0]
	}
}

// receive does what others have asked for.
func (l *loop) receive() {
	l.mu.Lock()
	inbox := l.inbox
	l.inbox = nil
	l.mu.Unlock()
	for _, m := range inbox {
		switch m.kind {
		case adopted:
			l.adopt(m.c)
		case returned:
			m.c.v = m.v
			m.c.publishBuffers()
			l.returned(m.c)
		case released:
			l.goOn(m.c)
		case served:
			l.x.meet(m.c)
			l.comeBack(m.c, m.v)
		case kill:
			switch {
			case m.c.gone || m.c.phase == working:
			case m.c.phase == blocking:
				l.closeBlocked(m.c)
			default:
				l.close(m.c)
			}
		}
	}
	if len(l.parked) > 0 {
		l.unpark()
	}
	if l.resumed.Swap(false) {
		l.resumePaused()
	}
}

// returned takes a connection back from its worker.
func (l *loop) returned(c *conn) {
	if c.killed.Load() {
		c.phase = serving
		l.close(c)
		return
	}
	l.proceed(c)
}

// unpark sends the replies whose writes are stable now.
func (l *loop) unpark() {
	l.x.stable = l.x.store.Stable()
	failed := l.logErr.Load()
	list := l.parked
	l.parked = list[:0]
	for _, c := range list {
		switch {
		case c.gone:
		case !l.x.awaits(c):
			l.proceed(c)
		case failed != nil:
			c.fail(&c.unstable, mayStand(*failed))
			c.barrier = 0
			l.proceed(c)
		default:
			l.parked = append(l.parked, c)
		}
	}
	clear(list[len(l.parked):])
	l.watchAcks()
}

// watchPause has the loop woken when the pause ends.
func (l *loop) watchPause() {
	if l.watching {
		return
	}
	l.watching = true
	ended := l.srv.pauseEnd()
	l.pauseWatch.Add(1)
	go func() {
		defer l.pauseWatch.Done()
		ended()
		l.resumed.Store(true)
		l.notify()
	}()
}

// resumePaused tries the requests that CLIENT PAUSE held back again.
func (l *loop) resumePaused() {
	l.watching = false
	list := l.paused
	l.paused = nil
	for _, c := range list {
		l.goOn(c)
	}
}

// goOn tries the request that was held back again.
func (l *loop) goOn(c *conn) {
	c.Blocked.Store(false)
	if !c.gone {
		c.phase = serving
		l.process(c)
	}
}

// watchHold has the connection resumed when what holds it back ends.
func (l *loop) watchHold(c *conn) {
	ended := l.srv.holdEnd(c)
	l.pauseWatch.Add(1)
	go func() {
		defer l.pauseWatch.Done()
		ended()
		l.post(message{c: c, kind: released})
	}()
}

// buffer returns an empty reply buffer.
func (l *loop) buffer() []byte {
	if n := len(l.buffers); n > 0 {
		b := l.buffers[n-1]
		l.buffers[n-1] = nil
		l.buffers = l.buffers[:n-1]
		return b
	}
	return make([]byte, 0, 8<<10)
}

// recycle takes the empty reply buffer of a connection, so that idle ones hold none.
func (l *loop) recycle(c *conn) {
	if cap(c.Out.Buf) <= keepOutput && cap(c.Out.Buf) > 0 && len(l.buffers) < maxEvents {
		l.buffers = append(l.buffers, c.Out.Buf[:0])
	}
	c.Out.Buf, c.sent = nil, 0
}

// shed closes the connection that holds most when the waiting replies of all exceed their budget.
func (l *loop) shed() {
	for l.srv.outgoing.Load() > outputBudget {
		var most *conn
		for _, c := range l.conns {
			if c != nil && c.phase == serving && (most == nil || c.pending() > most.pending()) {
				most = c
			}
		}
		if most == nil || most.pending() == 0 {
			return
		}
		l.closeOverLimit(most)
	}
}

func (l *loop) closeOverLimit(c *conn) {
	l.srv.node.Stats.ClientOutLimit.Add(1)
	l.srv.log.Warn("client closed: it does not read its replies", "client", c.Addr, "bytes", c.pending())
	l.close(c)
}

// close ends a connection that no worker has.
func (l *loop) close(c *conn) {
	if c.gone {
		return
	}
	c.gone = true
	c.final()
	l.conns[c.fd] = nil
	l.open--
	_ = unix.Close(c.fd) // leaves the epoll set by itself
	l.srv.forget(c)
	c.Out.Buf, c.sent = nil, 0
}

// cron enforces what depends on time.
func (l *loop) cron() {
	for _, ln := range l.listeners {
		if !ln.resume.IsZero() && l.now.After(ln.resume) {
			ln.resume = time.Time{}
			_ = l.ctl(unix.EPOLL_CTL_ADD, ln.fd, 0, unix.EPOLLIN)
		}
	}
	l.expireAcks()
	if l == l.driver.loops[0] {
		l.srv.node.Stats.Sample(l.now)
		l.srv.node.SweepBlocked()
	}
	for _, c := range l.conns {
		if c == nil || c.phase != serving {
			continue
		}
		switch {
		case l.srv.overLimit(c, l.now):
			l.closeOverLimit(c)
		case l.srv.idleTooLong(c, l.now):
			l.close(c)
		}
	}
}

// drainStep ends the loop: once, what has arrived is read, run and answered; then connections are closed as their
// replies are sent. force closes all that no worker has; workers give up by themselves.
func (l *loop) drainStep() {
	if !l.draining {
		l.draining = true
		for _, ln := range l.listeners {
			_ = ln.file.Close()
		}
		l.listeners = nil
		for _, c := range l.conns {
			if c != nil && c.phase == serving && !c.finish && l.srv.mayContinue(c) {
				l.read(c)
			}
		}
		l.settle()
	}
	force := l.force.Load()
	for _, c := range l.conns {
		switch {
		case c == nil || c.phase == working || c.queued && !force:
		case c.phase == blocking:
			l.closeBlocked(c)
		case force || c.phase == pausing || c.phase == serving && c.pending() == 0:
			l.close(c)
		case !c.more:
			c.finish = true
		}
	}
	l.drained = l.open == 0
}

// outOfDescriptors recognises the errors of accept that pass when others close their connections.
func outOfDescriptors(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM)
}

// epollDriver serves with one or more loops.
type epollDriver struct {
	srv   *Server
	loops []*loop
	next  int // the loop that takes the next connection
	wg    sync.WaitGroup
}

func (d *epollDriver) serve() error {
	for _, l := range d.loops {
		d.wg.Add(1)
		go func() {
			defer d.wg.Done()
			l.run()
		}()
	}
	d.wg.Wait()
	for _, l := range d.loops {
		for _, m := range l.inbox { // accepted while this loop ended
			if m.kind == adopted {
				_ = unix.Close(m.c.fd)
				d.srv.forget(m.c)
			}
		}
	}
	return nil
}

func (d *epollDriver) shutdown(ctx context.Context) {
	tell := func(flag func(*loop) *atomic.Bool) {
		for _, l := range d.loops {
			flag(l).Store(true)
			l.notify()
		}
	}
	tell(func(l *loop) *atomic.Bool { return &l.drain })
	stop := context.AfterFunc(ctx, func() { tell(func(l *loop) *atomic.Bool { return &l.force }) })
	defer stop()
	if d.srv.started.Load() {
		<-d.srv.done
		return
	}
	for _, l := range d.loops {
		for _, ln := range l.listeners {
			_ = ln.file.Close()
		}
		l.closeFDs()
	}
}
