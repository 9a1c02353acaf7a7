package testnode

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// BusOffset is the distance from a node's client port to its cluster bus port.
const BusOffset = 10000

var (
	portMu    sync.Mutex
	portTaken = map[int]bool{} // ports that this process has given out
)

// FreePort returns a port that is free, as is its bus port. Both lie below the
// range from which the system takes the ports of outgoing connections, so that
// a client cannot take one before the server does.
func FreePort() (int, error) {
	portMu.Lock()
	defer portMu.Unlock()
	for range 1000 {
		port := 11000 + rand.IntN(11000)
		if !portTaken[port] && isFree(port) && isFree(port+BusOffset) {
			portTaken[port] = true
			return port, nil
		}
	}
	return 0, errors.New("no free port")
}

func isFree(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	l.Close()
	return true
}
