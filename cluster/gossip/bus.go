// Package gossip is the cluster's bus, and on it the gossip: who is alive, and
// whose state has news (hashicorp/memberlist).
//
// The bus is one TCP listener that all traffic between nodes shares, told apart
// by the kind in each connection's first bytes, and UDP on the same port. Under TLS
// there is no UDP: packets go over kept connections (packets.go).
package gossip

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Kind says what a bus connection carries. Its numbers never change.
type Kind byte

// The kinds of connections.
const (
	// KindGossip is memberlist's streams.
	KindGossip Kind = 1
	// KindState exchanges node tables.
	KindState Kind = 2
	// KindPackets carries memberlist's packets under TLS.
	KindPackets Kind = 3
	// KindIdentity asks a process which one of its node's it is.
	KindIdentity Kind = 4
	// KindWatch stays open while the process lives.
	KindWatch Kind = 5
	// FirstKind is where the kinds of other subsystems begin.
	FirstKind Kind = 16
)

const (
	handshakeTimeout = 5 * time.Second
	// maxGreeting bounds the connections that have not proven themselves yet, and
	// maxConns all accepted ones: a stranger costs a file descriptor and a few KiB each.
	maxGreeting = 128
	maxConns    = 4096
)

// BusOptions configure a bus.
type BusOptions struct {
	// Bind is as the bind directive; Port 0 takes any free port.
	Bind []string
	Port int
	// Secret is shared by all nodes, TLS encrypts and shows certificates; both may be set. Without either Plain
	// must be set, unless every bind address is a loopback one.
	Secret string
	TLS    *TLS
	Plain  bool
	// Network is System unless a test brings its own.
	Network Network
	Logger  *slog.Logger
}

// Bus is a node's end of the cluster's bus.
type Bus struct {
	o       BusOptions
	secret  []byte
	sockets *sockets
	former  atomic.Pointer[sockets] // at the port of an earlier run, see StayAt
	local   string                  // source address for dialing
	links   *links                  // nil without TLS
	ctx     context.Context
	cancel  context.CancelFunc

	handlers [256]atomic.Pointer[func(net.Conn)]
	packets  atomic.Pointer[func(b []byte, from net.Addr)]
	sent     atomic.Uint64
	received atomic.Uint64

	greeting chan struct{}
	mu       struct {
		sync.Mutex
		closed bool
		conns  map[net.Conn]struct{}
	}
	wg sync.WaitGroup
}

// ErrPlain: the bus would be open to strangers.
var ErrPlain = errors.New("cluster bus: the node listens beyond loopback and nothing protects its bus: " +
	"set cluster-bus-secret to the same text on every node, use tls-cluster yes, or allow it with cluster-bus-plaintext yes")

// Listen opens the bus's sockets and begins to accept.
func Listen(o BusOptions) (*Bus, error) {
	if o.Network == nil {
		o.Network = System{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Secret == "" && o.TLS == nil && !o.Plain && !loopbackOnly(o.Bind) {
		return nil, ErrPlain
	}
	socks, err := bind(o.Network, o.Bind, o.Port, o.TLS == nil)
	if err != nil {
		return nil, err
	}
	b := &Bus{o: o, sockets: socks, greeting: make(chan struct{}, maxGreeting), local: sourceAddr(o.Bind)}
	b.secret = derive([]byte(o.Secret), "cairn bus 1")
	b.mu.conns = make(map[net.Conn]struct{})
	b.ctx, b.cancel = context.WithCancel(context.Background())
	if o.TLS != nil {
		b.links = &links{bus: b, to: make(map[string]chan []byte)}
		b.Handle(KindPackets, b.servePackets)
	}
	for _, l := range socks.listeners {
		b.wg.Go(func() { b.accept(l) })
	}
	for _, p := range socks.packets {
		b.wg.Go(func() { b.receive(p) })
	}
	return b, nil
}

// StayAt accepts connections at another port as well, where that is free: peers that know this node from an earlier run look for it there.
func (b *Bus) StayAt(port int) error {
	socks, err := bind(b.o.Network, b.o.Bind, port, false)
	if err != nil {
		return err
	}
	b.former.Store(socks)
	for _, l := range socks.listeners {
		b.wg.Go(func() { b.accept(l) })
	}
	return nil
}

// Leave ends StayAt, and reports whether it had begun.
func (b *Bus) Leave() bool {
	socks := b.former.Swap(nil)
	if socks != nil {
		_ = socks.close()
	}
	return socks != nil
}

func loopbackOnly(addrs []string) bool {
	for _, a := range addrs {
		host := ListenHost(a)
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return false
		}
	}
	return len(addrs) > 0
}

// sourceAddr is the first address that is bound specifically: peers shall see us there.
func sourceAddr(addrs []string) string {
	for _, a := range addrs {
		if ip := net.ParseIP(ListenHost(a)); ip != nil && !ip.IsUnspecified() {
			return ip.String()
		}
	}
	return ""
}

// derive makes keys for separate uses from one secret.
func derive(secret []byte, use string) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(use))
	return h.Sum(nil)
}

// Port is the port of the bus.
func (b *Bus) Port() int { return b.sockets.port }

// Traffic counts packets and connections, sent and received.
func (b *Bus) Traffic() (sent, received uint64) { return b.sent.Load(), b.received.Load() }

// Handle serves connections of a kind: fn gets each in a goroutine of its own and closes it. A nil fn stops.
func (b *Bus) Handle(kind Kind, fn func(net.Conn)) {
	if fn == nil {
		b.handlers[kind].Store(nil)
		return
	}
	b.handlers[kind].Store(&fn)
}

func (b *Bus) served(kind Kind) bool { return b.handlers[kind].Load() != nil }

// HandlePackets serves packets; fn owns b.
func (b *Bus) HandlePackets(fn func(b []byte, from net.Addr)) {
	if fn == nil {
		b.packets.Store(nil)
		return
	}
	b.packets.Store(&fn)
}

func (b *Bus) accept(l net.Listener) {
	for pause := time.Millisecond; ; {
		conn, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || b.isClosed() {
				return
			}
			time.Sleep(pause) // out of file descriptors, most likely
			pause = min(2*pause, time.Second)
			continue
		}
		pause = time.Millisecond
		select {
		case b.greeting <- struct{}{}:
			if b.track(conn) {
				b.wg.Go(func() { b.serve(conn) })
				continue
			}
			<-b.greeting
		default:
		}
		_ = conn.Close()
	}
}

func (b *Bus) serve(raw net.Conn) {
	defer b.untrack(raw)
	conn, kind, err := b.admit(raw)
	<-b.greeting
	if err != nil {
		b.o.Logger.Debug("cluster bus: connection refused", "peer", raw.RemoteAddr(), "err", err)
		_ = raw.Close()
		return
	}
	b.received.Add(1)
	if fn := b.handlers[kind].Load(); fn != nil {
		(*fn)(conn)
		return
	}
	_ = conn.Close()
}

// admit does the server's side of the handshakes.
func (b *Bus) admit(raw net.Conn) (net.Conn, Kind, error) {
	ctx, cancel := context.WithTimeout(b.ctx, handshakeTimeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	_ = raw.SetDeadline(deadline)
	conn, err := b.o.TLS.serve(ctx, raw)
	if err != nil {
		return nil, 0, errors.Join(ErrHandshake, err)
	}
	bound, err := binding(conn)
	if err != nil {
		return nil, 0, err
	}
	kind, s, err := welcome(conn, b.secret, bound, b.served)
	if err != nil {
		return nil, 0, err
	}
	conn, err = b.protect(conn, s, false)
	_ = raw.SetDeadline(time.Time{})
	return conn, kind, err
}

// protect seals the connection if there is a secret to seal it with, and not TLS already.
func (b *Bus) protect(conn net.Conn, s *session, client bool) (net.Conn, error) {
	if b.o.Secret == "" || b.o.TLS != nil {
		return conn, nil
	}
	return seal(conn, s, client)
}

// Dial opens a connection of a kind to the bus at addr.
func (b *Bus) Dial(ctx context.Context, addr string, kind Kind) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	raw, err := b.o.Network.Dial(ctx, b.local, addr)
	if err != nil {
		return nil, err
	}
	if !b.track(raw) {
		_ = raw.Close()
		return nil, net.ErrClosed
	}
	conn, err := b.introduce(ctx, raw, kind)
	if err != nil {
		_ = raw.Close()
		b.untrack(raw)
		return nil, fmt.Errorf("%s: %w", addr, err)
	}
	b.sent.Add(1)
	return &trackedConn{Conn: conn, done: func() { b.untrack(raw) }}, nil
}

// introduce does the client's side of the handshakes.
func (b *Bus) introduce(ctx context.Context, raw net.Conn, kind Kind) (net.Conn, error) {
	deadline, _ := ctx.Deadline()
	_ = raw.SetDeadline(deadline)
	conn, err := b.o.TLS.connect(ctx, raw)
	if err != nil {
		return nil, errors.Join(ErrHandshake, err)
	}
	bound, err := binding(conn)
	if err != nil {
		return nil, err
	}
	s, err := greet(conn, b.secret, bound, kind)
	if err != nil {
		return nil, err
	}
	conn, err = b.protect(conn, s, true)
	_ = raw.SetDeadline(time.Time{})
	return conn, err
}

// trackedConn is forgotten by the bus when it is closed.
type trackedConn struct {
	net.Conn
	once sync.Once
	done func()
}

func (c *trackedConn) Close() error {
	c.once.Do(c.done)
	return c.Conn.Close()
}

// maxPacket bounds a packet, as UDP does.
const maxPacket = 64 << 10

func (b *Bus) receive(p net.PacketConn) {
	buf := make([]byte, maxPacket)
	for {
		n, from, err := p.ReadFrom(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) || b.isClosed() {
				return
			}
			continue // an ICMP error of an earlier send
		}
		b.deliver(buf[:n], from)
	}
}

// deliver hands a copy of a packet on.
func (b *Bus) deliver(p []byte, from net.Addr) {
	b.received.Add(1)
	if fn := b.packets.Load(); fn != nil {
		(*fn)(append([]byte(nil), p...), from)
	}
}

// SendPacket sends one packet, which may be lost.
func (b *Bus) SendPacket(p []byte, addr string) error {
	if b.links != nil {
		b.sent.Add(1)
		b.links.send(p, addr)
		return nil
	}
	to, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return err
	}
	b.sent.Add(1)
	_, err = b.sockets.packetConn(to).WriteTo(p, to)
	return err
}

// spawn runs fn until the bus is closed; it says whether it could.
func (b *Bus) spawn(fn func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.closed {
		return false
	}
	b.wg.Go(fn)
	return true
}

func (b *Bus) track(conn net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.closed || len(b.mu.conns) >= maxConns {
		return false
	}
	b.mu.conns[conn] = struct{}{}
	return true
}

func (b *Bus) untrack(conn net.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.mu.conns, conn)
}

func (b *Bus) isClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.closed
}

// Close ends every connection and waits for the handlers. Idempotent.
func (b *Bus) Close() error {
	b.mu.Lock()
	if b.mu.closed {
		b.mu.Unlock()
		return nil
	}
	b.mu.closed = true
	b.cancel()
	for conn := range b.mu.conns {
		_ = conn.Close()
	}
	b.mu.Unlock()
	b.Leave()
	err := b.sockets.close()
	b.wg.Wait()
	return err
}
