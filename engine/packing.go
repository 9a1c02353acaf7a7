package engine

// Packing are the sizes up to which collections are packed into their meta records, as package types does it. They are Redis's directives
// of these names; a stored collection stays as it is when they change.
type Packing struct {
	HashEntries, HashValue int // hash-max-listpack-entries, -value (bytes)
	SetInts                int // set-max-intset-entries
	SetEntries, SetValue   int // set-max-listpack-entries, -value (bytes)
	ZSetEntries, ZSetValue int // zset-max-listpack-entries, -value (bytes)
	ListSize               int // list-max-listpack-size: entries, or if negative a class of bytes
	HLLSparseBytes         int // hll-sparse-max-bytes
	StreamNodeBytes        int // stream-node-max-bytes
	StreamNodeEntries      int // stream-node-max-entries
	// Bytes is how large a packed collection may be in all: each write writes it anew.
	Bytes int
}

// DefaultPacking is Redis's, and Bytes as measured.
func DefaultPacking() Packing {
	return Packing{
		HashEntries: 512, HashValue: 64,
		SetInts: 512, SetEntries: 128, SetValue: 64,
		ZSetEntries: 128, ZSetValue: 64,
		ListSize: -2, HLLSparseBytes: 3000,
		StreamNodeBytes: 4096, StreamNodeEntries: 100,
		Bytes: 2 << 10,
	}
}

// SetPacking changes the limits from the next write on.
func (s *Store) SetPacking(p Packing) { s.packing.Store(&p) }

// Packing returns the store's limits.
func (t *Txn) Packing() *Packing { return t.s.packing.Load() }
