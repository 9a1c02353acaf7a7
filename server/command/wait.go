package command

import (
	"context"
	"math"
	"time"

	"github.com/cairndb/cairn/engine/types"
	"github.com/cairndb/cairn/replication"
	"github.com/cairndb/cairn/server/resp"
)

// wait is WAIT. Unlike Redis, it counts the replicas that have everything written so far, by whomever.
func wait(c *Ctx) {
	reign := c.Node.Replication.Reign()
	if c.Node.Store.Following() {
		c.Out.Error("ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured to be " +
			"writable (which is not the default) writes to replicas are just local and are not propagated.")
		return
	}
	n, ok := c.int(1)
	if !ok {
		return
	}
	limit, ok := c.timeout(2)
	if !ok {
		return
	}
	acks, off := c.Node.Replication.Acks(), c.Node.Store.End()
	have := acks.Count(off, replication.Written)
	if int64(have) >= n || c.InExec() {
		c.Out.Int(int64(have))
		return
	}
	store := c.Node.Store
	c.AwaitTimed(func(ctx context.Context) {
		ctx, cancel := withTimeout(ctx, limit)
		defer cancel()
		defer context.AfterFunc(reign, cancel)()
		if _, err := store.FlushLog(); err != nil {
			return
		}
		have, _ = acks.Wait(ctx, off, int(min(n, math.MaxInt32)), replication.Written)
	}, func(c *Ctx) {
		if reign.Err() != nil {
			c.Out.Error(resp.ErrRoleChanged)
			return
		}
		c.Out.Int(int64(have))
	})
}

// waitAOF is WAITAOF: WAIT for disks, this node's first.
func waitAOF(c *Ctx) {
	local, ok := c.int(1)
	if !ok {
		return
	}
	if local < 0 || local > 1 {
		c.Out.Error("ERR value is out of range, must be between 0 and 1")
		return
	}
	n, ok := types.ParseInt(c.Args[2])
	if !ok || n < 0 {
		c.Out.Error("ERR value is out of range, must be positive")
		return
	}
	limit, ok := c.timeout(3)
	if !ok {
		return
	}
	store, acks, reign := c.Node.Store, c.Node.Replication.Acks(), c.Node.Replication.Reign()
	if store.Following() {
		c.Out.Error("ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local and are not propagated.")
		return
	}
	off := store.End()
	reply := func(c *Ctx) {
		if reign.Err() != nil {
			c.Out.Error(resp.ErrRoleChanged)
			return
		}
		c.Out.Array(2)
		c.bool01(store.Log().Synced() >= off)
		c.Out.Int(int64(acks.Count(off, replication.Synced)))
	}
	if store.Log().Synced() >= off && int64(acks.Count(off, replication.Synced)) >= n || c.InExec() {
		reply(c)
		return
	}
	errands := &c.Node.errands
	c.AwaitTimed(func(ctx context.Context) {
		ctx, cancel := withTimeout(ctx, limit)
		defer cancel()
		defer context.AfterFunc(reign, cancel)()
		synced := make(chan error, 1)
		errands.Add(1)
		go func() {
			defer errands.Done()
			synced <- store.Log().Sync()
		}()
		if local > 0 {
			select {
			case <-synced:
			case <-ctx.Done():
				return
			}
		}
		_, _ = acks.Wait(ctx, off, int(min(n, math.MaxInt32)), replication.Synced)
	}, reply)
}

// timeout parses args[i], milliseconds of which 0 means for ever, or answers what is wrong with it.
func (c *Ctx) timeout(i int) (time.Duration, bool) {
	ms, ok := types.ParseInt(c.Args[i])
	switch {
	case !ok:
		c.Out.Error("ERR timeout is not an integer or out of range")
	case ms < 0:
		c.Out.Error("ERR timeout is negative")
	case ms > math.MaxInt64/int64(time.Millisecond):
		c.Out.Error(resp.ErrTimeoutRange)
	default:
		return time.Duration(ms) * time.Millisecond, true
	}
	return 0, false
}

func withTimeout(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if limit == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, limit)
}
