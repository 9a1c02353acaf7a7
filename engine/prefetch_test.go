package engine

import (
	"fmt"
	"testing"

	"github.com/cairndb/cairn/engine/keys"
)

// Prefetching leaves everything as it is, whatever the table holds.
func TestPrefetch(t *testing.T) {
	t.Parallel()
	table := newRecordTable(0)
	var names [][]byte
	for i := range 2 * PrefetchKeys {
		name := fmt.Appendf(nil, "key%d", i)
		names = append(names, name)
		slot := keys.Slot(name)
		if key := keys.AppendMeta(nil, slot, 0, name); i%2 == 0 {
			table.put(slot, hashKey(key), key, []byte("a record"))
		}
	}
	before, bytes, _, _ := table.sums()
	txn := &Txn{s: &Store{records: table}}
	txn.Prefetch(0, nil)
	txn.Prefetch(0, names)
	table.shards[0].mu.Lock() // somebody is there
	txn.Prefetch(0, names)
	table.shards[0].mu.Unlock()
	if after, b, hits, misses := table.sums(); after != before || b != bytes || hits+misses != 0 {
		t.Errorf("%d records of %d bytes became %d of %d; %d hits, %d misses", before, bytes, after, b, hits, misses)
	}
}
