package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/cairndb/cairn/server/config"
)

// Listen opens what port, bind and unixsocket name. Who connects before a Server serves the listeners waits in their backlogs.
func Listen(conf *config.Config) ([]net.Listener, error) {
	listeners, err := listenTCP(conf)
	if err != nil {
		closeAll(listeners)
		return nil, err
	}
	if path := conf.UnixSocket(); path != "" {
		l, err := listenUnix(path, fs.FileMode(conf.UnixSocketPerm()))
		if err != nil {
			closeAll(listeners)
			return nil, err
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

// listenTCP opens port on every address of bind, of which those with a leading "-" may be missing on this machine.
func listenTCP(conf *config.Config) (listeners []net.Listener, err error) {
	if conf.Port() == 0 || len(conf.Bind()) == 0 {
		return nil, nil
	}
	for _, host := range conf.Bind() {
		name, optional := strings.CutPrefix(host, "-")
		l, err := listenHost(name, conf.Port())
		switch {
		case err == nil:
			listeners = append(listeners, l)
		case !optional || !unavailable(err):
			return listeners, err
		}
	}
	if len(listeners) == 0 {
		return nil, errors.New("none of the addresses in bind is available")
	}
	return listeners, nil
}

// listenHost listens on one address: "*" is every IPv4, "::*" every IPv6 address.
func listenHost(host string, port int) (net.Listener, error) {
	network := "tcp4"
	switch {
	case host == "*":
		host = "0.0.0.0"
	case host == "::*":
		network, host = "tcp6", "::"
	case strings.Contains(host, ":"):
		network = "tcp6"
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), network, net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("listen on port %d: %w", port, err)
	}
	return l, nil
}

// unavailable: the address or its family does not exist here.
func unavailable(err error) bool {
	return errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) ||
		errors.Is(err, syscall.EPROTONOSUPPORT) || errors.Is(err, syscall.ENOPROTOOPT)
}

// listenUnix replaces a socket that an earlier process left behind, but not one that is served.
func listenUnix(path string, perm fs.FileMode) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		if c, err := net.Dial("unix", path); err == nil {
			_ = c.Close()
			return nil, fmt.Errorf("unixsocket: %s is in use by another process", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("unixsocket: %w", err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("unixsocket: %w", err)
	}
	if perm != 0 {
		if err := os.Chmod(path, perm); err != nil {
			_ = l.Close()
			return nil, fmt.Errorf("unixsocketperm: %w", err)
		}
	}
	return l, nil
}
