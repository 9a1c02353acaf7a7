package main

import (
	"context"
	"fmt"
	"time"

	"github.com/cairndb/cairn/tools/wire"
)

// catchUp is how long replicas have to get what their primaries have, while all is well.
const catchUp = 30 * time.Second

// compareReplicas compares what replicas hold of the objects that nobody writes to any more with their primaries, byte for byte.
func (c *campaign) compareReplicas(ctx context.Context) error {
	s, err := c.cluster.shape()
	if err != nil {
		return err
	}
	conns := make(map[string]*wire.Conn)
	defer func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}()
	cl := newClient(c.router, c.seed)
	cl.stray = 0
	defer cl.close()
	for _, settled := range c.store.allSettled() {
		for _, key := range settled.object.keys() {
			limited, cancel := context.WithTimeout(ctx, readLimit)
			r := cl.do(limited, []string{"DUMP", key})
			cancel()
			if r.outcome != acknowledged {
				if ctx.Err() != nil {
					return nil
				}
				return violation{fmt.Sprintf("%s can't be read for %v", key, readLimit)}
			}
			for _, replica := range c.replicasOf(s, r.by) {
				if err := until(ctx, catchUp, func() error { return sameThere(conns, replica, key, r.replies[0]) }); err != nil && ctx.Err() == nil {
					return violation{fmt.Sprintf("replica %s of %s: %v (slot %d)", replica, r.by, err, slotOf(key))}
				}
				c.compared++
			}
		}
	}
	return nil
}

// keys are all of an object's.
func (o *object) keys() []string {
	if o.kind == group {
		return []string{o.key("a"), o.key("b"), o.key("n")}
	}
	return []string{o.key("")}
}

func (c *campaign) replicasOf(s shape, primary string) (addresses []string) {
	for p, replicas := range s.replicas {
		if c.cluster.nodes[p].Addr() != primary {
			continue
		}
		for _, i := range replicas {
			addresses = append(addresses, c.cluster.nodes[i].Addr())
		}
	}
	return addresses
}

// sameThere is an error while a replica has another value than want.
func sameThere(conns map[string]*wire.Conn, address, key string, want wire.Value) error {
	conn := conns[address]
	if conn == nil {
		var err error
		if conn, err = wire.Dial(address); err != nil {
			return err
		}
		conns[address] = conn
		if _, err := conn.Must("READONLY"); err != nil {
			return err
		}
	}
	got, err := conn.Do("DUMP", key)
	if err != nil {
		_ = conn.Close()
		delete(conns, address)
		return err
	}
	if !got.Equal(want) {
		return fmt.Errorf("%s is %.100s there, and %.100s here", key, got, want)
	}
	return nil
}
