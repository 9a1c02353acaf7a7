package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// filler writes larger values, which nobody checks: logs grow and are cut, stores are flushed and compacted, moved slots have something in them.
type filler struct{ client *client }

const (
	fillerKeys  = 3000
	fillerValue = 4 << 10
	fillerPace  = 4 * time.Millisecond
)

func newFiller(r *router, seed uint64) *filler { return &filler{newClient(r, seed)} }

func (f *filler) run(ctx context.Context) {
	defer f.client.close()
	for i := 0; ctx.Err() == nil; i++ {
		n := f.client.rng.IntN(fillerKeys)
		value := strings.Repeat(fmt.Sprintf("%08d", i), f.client.rng.IntN(fillerValue)/8)
		f.client.do(ctx, []string{"SET", fmt.Sprint("fill:", n), value})
		pause(ctx, fillerPace)
	}
}
