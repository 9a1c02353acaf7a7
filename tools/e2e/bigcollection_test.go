package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
)

// bigHash is a hash that one client writes, and what it must be: of each field the number of its last write.
type bigHash struct {
	*bigValue
	version []int
}

const bigFieldBytes = 1000

func (h *bigHash) field(i int) string { return fmt.Sprintf("field:%08d", i) }

func (h *bigHash) value(i int) string {
	return fmt.Sprintf("%d of %d ", h.version[i], i) + strings.Repeat(string(rune('a'+i%26)), bigFieldBytes)
}

// fill writes n fields.
func (h *bigHash) fill(n int) {
	h.t.Helper()
	for len(h.version) < n {
		var pairs []any
		for range 100 {
			h.version = append(h.version, 0)
			i := len(h.version) - 1
			pairs = append(pairs, h.field(i), h.value(i))
		}
		h.do(func(ctx context.Context) error { return h.db.HSet(ctx, h.key, pairs...).Err() })
	}
}

// change writes a field, a new one now and then, or reads one.
func (h *bigHash) change() {
	i := rand.IntN(len(h.version))
	switch rand.IntN(4) {
	case 0:
		want := h.value(i)
		h.do(func(ctx context.Context) error {
			got, err := h.db.HGet(ctx, h.key, h.field(i)).Result()
			if err == nil && got != want {
				err = fmt.Errorf("field %d is %.30s, want %.30s", i, got, want)
			}
			return err
		})
		return
	case 1:
		i = len(h.version)
		h.version = append(h.version, 0)
	default:
		h.version[i]++
	}
	h.do(func(ctx context.Context) error { return h.db.HSet(ctx, h.key, h.field(i), h.value(i)).Err() })
}

// check reads all of it from a node, which serves it itself.
func (h *bigHash) check(n *testnode.Node, from ...string) {
	h.t.Helper()
	conn, err := n.Dial()
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close()
	if len(from) > 0 {
		if _, err := conn.Must(from...); err != nil {
			h.t.Fatal(err)
		}
	}
	if got, err := conn.Must("HLEN", h.key); err != nil || got.Int() != int64(len(h.version)) {
		h.t.Fatalf("port %d: it has %d fields, %v; want %d", n.Port, got.Int(), err, len(h.version))
	}
	for at := 0; at < len(h.version); at += 100 {
		args := []string{"HMGET", h.key}
		end := min(at+100, len(h.version))
		for i := at; i < end; i++ {
			args = append(args, h.field(i))
		}
		got, err := conn.Must(args...)
		if err != nil {
			h.t.Fatal(err)
		}
		for i := at; i < end; i++ {
			if text := got.Elems[i-at].Text; text != h.value(i) {
				h.t.Fatalf("port %d: field %d is %.30q, want %.30q", n.Port, i, text, h.value(i))
			}
		}
	}
}

// The slot of one large collection, which is written to and grows meanwhile, moves to a shard with a replica and back; no write is lost, and
// no process needs memory for all of it at once.
func TestSlotOfABigCollectionMoves(t *testing.T) {
	t.Parallel()
	nodes, replica := startBigMove(t)
	size := bigMegabytes(t, "CAIRN_BIG_COLLECTION_MB", 16, 4096) << 20
	h := &bigHash{bigValue: &bigValue{t: t, db: redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{nodes[0].Addr()}, ReadTimeout: 30 * time.Second}), key: tagIn(7)}}
	defer h.db.Close()
	h.fill(size / bigFieldBytes)

	before := usages(t, nodes[0], nodes[1], replica)
	h.during(2*time.Millisecond, h.change, func() { moveSlots(t, nodes[0], nodes[1], 7, 7) })
	wantBounded(t, before, usages(t, nodes[0], nodes[1], replica))
	h.report(nodes[0], size)
	h.check(nodes[1])
	awaitReplicaOf(t, nodes[1], replica)
	h.check(replica, "READONLY")
	poll.Within(t, "the source drops it", time.Minute, func() bool { return keysOf(t, nodes[0]) == 0 })
	h.during(2*time.Millisecond, h.change, func() { moveSlots(t, nodes[1], nodes[0], 7, 7) })
	h.report(nodes[1], size)
	h.check(nodes[0])
}
