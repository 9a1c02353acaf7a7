package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Network is what the bus reaches its peers through: the operating system's, or a test's that can be cut.
type Network interface {
	Listen(addr string) (net.Listener, error)
	ListenPacket(addr string) (net.PacketConn, error)
	// Dial connects over TCP; local is the source address to use, empty for any.
	Dial(ctx context.Context, local, addr string) (net.Conn, error)
}

// System is the operating system's network.
type System struct{}

// Listen listens on a TCP address.
func (System) Listen(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }

// ListenPacket listens on a UDP address.
func (System) ListenPacket(addr string) (net.PacketConn, error) {
	return net.ListenPacket("udp", addr)
}

// Dial connects over TCP.
func (System) Dial(ctx context.Context, local, addr string) (net.Conn, error) {
	d := net.Dialer{}
	if ip := net.ParseIP(local); ip != nil && sameFamily(ip, addr) {
		d.LocalAddr = &net.TCPAddr{IP: ip}
	}
	return d.DialContext(ctx, "tcp", addr)
}

func sameFamily(ip net.IP, addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	to := net.ParseIP(host)
	return to != nil && (ip.To4() == nil) == (to.To4() == nil)
}

// sockets are a bus's open ones: a TCP socket, and a UDP one if packets are wanted, on the same port of each address.
type sockets struct {
	listeners []net.Listener
	packets   []net.PacketConn
	port      int
	udp       bool
}

func (s *sockets) close() error {
	var errs []error
	for _, l := range s.listeners {
		errs = append(errs, l.Close())
	}
	for _, p := range s.packets {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// bindTries is how often a free port is looked for that both TCP and UDP have free.
const bindTries = 20

// bind opens the sockets. Addresses are as in Redis's bind directive: one that begins with '-' may be unavailable.
func bind(n Network, addrs []string, port int, udp bool) (*sockets, error) {
	if len(addrs) == 0 {
		addrs = []string{"*"}
	}
	for try := 1; ; try++ {
		s, err := bindOnce(n, addrs, port, udp)
		if err == nil || port != 0 || try == bindTries {
			return s, err
		}
	}
}

func bindOnce(n Network, addrs []string, port int, udp bool) (*sockets, error) {
	s := &sockets{port: port, udp: udp}
	for _, addr := range addrs {
		optional := strings.HasPrefix(addr, "-")
		if err := s.open(n, ListenHost(addr)); err != nil && !optional {
			_ = s.close()
			return nil, fmt.Errorf("cluster bus: %w", err)
		}
	}
	if len(s.listeners) == 0 {
		return nil, errors.New("cluster bus: none of the bind addresses is available")
	}
	return s, nil
}

func (s *sockets) open(n Network, host string) error {
	l, err := n.Listen(net.JoinHostPort(host, strconv.Itoa(s.port)))
	if err != nil {
		return err
	}
	port := portOf(l.Addr())
	if s.udp {
		p, err := n.ListenPacket(net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			_ = l.Close()
			return err
		}
		s.packets = append(s.packets, p)
	}
	s.port = port
	s.listeners = append(s.listeners, l)
	return nil
}

// ListenHost turns a word of the bind directive into the host to listen on.
func ListenHost(word string) string {
	switch word = strings.TrimPrefix(word, "-"); word {
	case "*":
		return "0.0.0.0"
	case "::*":
		return "::"
	}
	return word
}

func portOf(a net.Addr) int {
	_, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(port)
	return n
}

// packetConn picks the socket to send to addr from: one of its family.
func (s *sockets) packetConn(to *net.UDPAddr) net.PacketConn {
	v4 := to.IP.To4() != nil
	for _, p := range s.packets {
		if local, ok := p.LocalAddr().(*net.UDPAddr); ok && (local.IP.To4() != nil) == v4 {
			return p
		}
	}
	return s.packets[0]
}
