package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// network gives each node a network namespace of its own on one bridge, so that any direction between any two can be cut. This
// program stays outside on the bridge's address and reaches all of them always.
//
// A direction is cut by a permanent neighbour entry with a hardware address that nobody has: the packets leave and are dropped
// by all. The sender notices nothing, the other direction stays as it is, and no packet filter is needed.
type network struct {
	prefix string // of namespaces and links, with this process's ID
	subnet string // the first three bytes of the addresses
	nodes  int
}

// namespacePrefix is what all namespaces and small file systems of this program begin with; its process's ID follows.
const namespacePrefix = "cairntorture"

// newNetwork fails where namespaces can't be made: not as root, or without ip(8).
func newNetwork(nodes int) (_ *network, err error) {
	if os.Getuid() != 0 {
		return nil, errors.New("not root")
	}
	removeStale()
	n := &network{prefix: fmt.Sprint(namespacePrefix, os.Getpid(), "-"), subnet: fmt.Sprintf("10.%d.%d", 64+rand.IntN(128), rand.IntN(256)), nodes: nodes}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	bridge := n.bridge()
	if err := ip("link", "add", bridge, "type", "bridge"); err != nil {
		return nil, err
	}
	for _, args := range [][]string{{"link", "set", bridge, "up"}, {"addr", "add", n.subnet + ".254/24", "dev", bridge}} {
		if err := ip(args...); err != nil {
			return nil, err
		}
	}
	for i := range nodes {
		if err := n.join(i); err != nil {
			return nil, err
		}
	}
	for from := range nodes {
		if err := n.mend(from); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func (n *network) bridge() string         { return fmt.Sprint("ct", os.Getpid()) }
func (n *network) namespace(i int) string { return n.prefix + strconv.Itoa(i) }
func (n *network) host(i int) string      { return fmt.Sprint(n.subnet, ".", i+1) }
func (n *network) hardware(i int) string  { return fmt.Sprintf("02:ca:17:00:00:%02x", i+1) }

// nowhere is a hardware address that no link has.
const nowhere = "02:ca:17:ff:ff:ff"

// join makes a node's namespace and connects it to the bridge.
func (n *network) join(i int) error {
	ns, link := n.namespace(i), fmt.Sprint(n.bridge(), ".", i)
	for _, args := range [][]string{
		{"netns", "add", ns},
		{"link", "add", link, "type", "veth", "peer", "name", "eth0", "address", n.hardware(i), "netns", ns},
		{"link", "set", link, "master", n.bridge(), "up"},
		{"-n", ns, "link", "set", "lo", "up"},
		{"-n", ns, "addr", "add", n.host(i) + "/24", "dev", "eth0"},
		{"-n", ns, "link", "set", "eth0", "up"},
	} {
		if err := ip(args...); err != nil {
			return err
		}
	}
	return nil
}

// cut drops what one node sends to another one.
func (n *network) cut(from, to int) error { return n.route(from, to, nowhere) }

// mend ends all cuts of what a node sends.
func (n *network) mend(from int) error {
	var errs []error
	for to := range n.nodes {
		if to != from {
			errs = append(errs, n.route(from, to, n.hardware(to)))
		}
	}
	return errors.Join(errs...)
}

func (n *network) route(from, to int, hardware string) error {
	return ip("-n", n.namespace(from), "neigh", "replace", n.host(to), "lladdr", hardware, "dev", "eth0", "nud", "permanent")
}

func (n *network) close() {
	for i := range n.nodes {
		_ = ip("netns", "del", n.namespace(i))
	}
	_ = ip("link", "del", n.bridge())
}

// removeStale removes what a run that was killed has left.
func removeStale() {
	names, err := os.ReadDir("/run/netns")
	if err != nil {
		return
	}
	for _, e := range names {
		if stale(e.Name()) {
			_ = ip("netns", "del", e.Name())
			_ = ip("link", "del", "ct"+processOf(e.Name()))
		}
	}
}

// stale says whether a name is of this program, and its process is gone.
func stale(name string) bool {
	pid := processOf(name)
	_, err := os.Stat("/proc/" + pid)
	return pid != "" && errors.Is(err, os.ErrNotExist)
}

func processOf(name string) string {
	rest, ours := strings.CutPrefix(name, namespacePrefix)
	if !ours {
		return ""
	}
	pid, _, _ := strings.Cut(rest, "-")
	return pid
}

func ip(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
