package types

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cairndb/cairn/engine"
)

// TestSetAndStreamCrash crashes sets that become tables and are drawn from, and streams with a group: every byte that is left is what some step
// has left, the last one that was acknowledged or a later one.
func TestSetAndStreamCrash(t *testing.T) {
	t.Parallel()
	p := engine.DefaultPacking()
	p.SetInts, p.SetEntries, p.StreamNodeEntries = 6, 4, 3
	o := engine.Options{CacheBytes: 4 << 20, RecordCacheBytes: -1, MemTableBytes: 64 << 10, LogSegmentBytes: 32 << 10, FreeSpaceReserve: 1, Packing: p, Verify: Verify}
	for name, change := range map[string]func(*engine.Txn, engine.Key, *rand.Rand) error{"set": changeSet, "stream": changeStream} {
		for seed := range uint64(8) {
			t.Run(fmt.Sprint(name, seed), func(t *testing.T) {
				t.Parallel()
				k := key(name)
				history := []string{"nothing\n"}
				after, least, most := crash(t, seed, o, func(tx *engine.Txn, rng *rand.Rand) error {
					tx.Lock([]uint16{k.Slot}, true)
					err := change(tx, k, rng)
					history = append(history, dumpKey(t, tx, k))
					return err
				})
				tx := locked(after, k)
				got := dumpKey(t, tx, k)
				tx.Discard()
				if !slices.Contains(history[least:min(most+1, len(history))], got) {
					t.Errorf("%.2000s\nwas never committed, or was not what was acknowledged", got)
				}
				checkStore(t, after)
			})
		}
	}
}

// changeSet makes a random change, most often by adding; now and then the set is deleted, to begin as integers again.
func changeSet(tx *engine.Txn, k engine.Key, rng *rand.Rand) error {
	s, err := OpenSet(tx, k)
	if err != nil {
		return err
	}
	member := func() []byte {
		if s.Len() < 8 {
			return fmt.Append(nil, rng.IntN(40))
		}
		return fmt.Append(nil, "member:", rng.IntN(40))
	}
	switch rng.IntN(8) {
	case 0:
		_, err = s.Remove([][]byte{member(), member()})
	case 1, 2:
		err = s.Pop(rng.Int64N(4), func([]byte) {})
	case 3:
		if rng.IntN(6) == 0 {
			_, err = tx.Delete(k)
		}
	default:
		_, err = s.Add([][]byte{member(), member(), member()})
	}
	return err
}

// changeStream makes a random change of a stream or of its group, most often by adding an entry.
func changeStream(tx *engine.Txn, k engine.Key, rng *rand.Rand) error {
	s, err := OpenStream(tx, k)
	if err != nil {
		return err
	}
	if !s.Exists() {
		g, err := (*Group)(nil), s.Create(0)
		if err == nil {
			g, err = s.CreateGroup([]byte("group"), StreamID{}, 0)
		}
		if err != nil {
			return err
		}
		return errors.Join(g.Save(), s.Save())
	}
	switch rng.IntN(8) {
	case 0:
		_, err = s.Delete([]StreamID{{uint64(rng.IntN(int(s.LastID().Ms) + 1)), 1}})
	case 1:
		_, err = s.Trim(Trim{MaxLen: uint64(rng.IntN(20))})
	case 2, 3, 4:
		return changeGroup(&s, rng)
	default:
		err = s.Add(StreamID{s.LastID().Ms + 1, 1}, [][]byte{[]byte("field"), fmt.Append(nil, rng.Uint64())})
	}
	return errors.Join(err, s.Save())
}

func changeGroup(s *Stream, rng *rand.Rand) error {
	g, err := s.Group([]byte("group"))
	if err != nil {
		return err
	}
	c, _, err := g.CreateConsumer(fmt.Append(nil, "consumer", rng.IntN(2)))
	if err != nil {
		return err
	}
	switch rng.IntN(4) {
	case 0:
		_, err = g.Acknowledge([]StreamID{{uint64(rng.IntN(int(s.LastID().Ms) + 1)), 1}})
	case 1:
		_, _, err = g.Claim(c, StreamID{uint64(rng.IntN(int(s.LastID().Ms) + 1)), 1}, Claim{Delivered: 5, Count: -1, Force: true})
	default:
		err = g.Deliver(c, 3, false, func(StreamID, Fields) {})
	}
	return errors.Join(err, g.Save(), s.Save())
}
