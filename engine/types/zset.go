package types

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

// How a sorted set is stored:
//
//	packed  header (EncodingInline), the elements in their order, each as an entry (see packed.go) and score(8)
//	spread  header (EncodingSpread, ID, Count = elements), state (see zset_state.go)
//	        sub-key 'm' hash(4) member → score(8)
//	        sub-key 's' place          → nothing, or one byte if the score is -0
//	        sub-key 'o' …              → from orderFrom elements on, the markers of the places' order (see order.go)
//
// score is the bits of the number, big endian. A place is score(8) member, with the bits of the score such that places compare as
// bytes like elements: by score, where -0 is 0, then by member. A sorted set is packed for as long as Redis's would be a listpack
// and it takes no more than Packing.Bytes.

const (
	zsetMembers = 'm'
	zsetPlaces  = 's'
	zsetMarkers = 'o'

	scoreLen = 8
)

// ErrScoreNaN: a score that would be no number.
var ErrScoreNaN = errors.New("types: the resulting score is not a number")

// Scored is an element of a sorted set.
type Scored struct {
	Member []byte
	Score  float64
}

// Clone is a copy that shares nothing with e.
func (e Scored) Clone() Scored { return Scored{bytes.Clone(e.Member), e.Score} }

// ZSet is the sorted set at a key, present or not, as a transaction sees it. After changes to it, Save writes what belongs to
// all of it; until then the transaction must not look at the key in another way.
type ZSet struct {
	txn   *engine.Txn
	key   engine.Key
	rec   engine.Record
	found bool
	dirty bool // to be saved

	packedCount int64
	ends        *zsetEnds // of a spread set, once they are needed
	order       *order    // of a set with markers, once it is needed
	buf         []byte
}

// OpenZSet returns the sorted set at k; ErrWrongType if another type is there.
func OpenZSet(t *engine.Txn, k engine.Key) (ZSet, error) {
	rec, found, err := read(t, k, keys.TypeZSet)
	z := ZSet{txn: t, key: k, rec: rec, found: found}
	if err != nil || !found {
		return z, err
	}
	if z.spread() {
		return z, z.checkState()
	}
	z.packedCount, err = countScored(rec.Value)
	return z, err
}

// Exists says whether there is a set: an absent one reads as empty.
func (z *ZSet) Exists() bool { return z.found }

// Len is the number of elements.
func (z *ZSet) Len() int64 {
	if z.spread() {
		return int64(z.rec.Count)
	}
	return z.packedCount
}

func (z *ZSet) spread() bool { return z.rec.Encoding == keys.EncodingSpread }

// Encoding is what OBJECT ENCODING says of a set that exists.
func (z *ZSet) Encoding() string { return ZSetEncoding(z.rec) }

// listpack says whether Redis would hold the set in a listpack.
func (z *ZSet) listpack() bool { return !z.spread() || z.rec.Value[0]&zsetListpack != 0 }

// Score returns the score of a member.
func (z *ZSet) Score(member []byte) (score float64, found bool, err error) {
	if !z.spread() {
		e, _, _ := z.findPacked(member)
		return e.Score, e.Member != nil, nil
	}
	v, found, err := z.txn.GetSub(z.key.Slot, z.rec.ID, z.memberKey(member))
	if err != nil || !found {
		return 0, false, err
	}
	score, ok := decodeScore(v)
	if !ok {
		return 0, false, z.corrupt("a score")
	}
	return score, true, nil
}

func (z *ZSet) corrupt(what string) error {
	return fmt.Errorf("%w: %s of a sorted set in slot %d", engine.ErrCorrupt, what, z.key.Slot)
}

// How says when Add changes something.
type How uint8

// The options of ZADD.
const (
	ZIfAbsent  How = 1 << iota // NX
	ZIfPresent                 // XX
	ZIfGreater                 // GT: an element that is there only gets a greater score
	ZIfLess                    // LT
	ZIncrement                 // INCR: the score is added to the one that is there
)

// Added is what Add has done.
type Added struct {
	Score float64 // the element's score, if Met
	Met   bool    // the conditions held
	New   bool    // the element was not there
	Moved bool    // its score was another one
}

// Add gives a member a score, under conditions. It fails with ErrScoreNaN before it changes anything.
func (z *ZSet) Add(member []byte, score float64, how How) (Added, error) {
	old, found, err := z.Score(member)
	switch {
	case err != nil:
		return Added{}, err
	case !found && how&ZIfPresent != 0, found && how&ZIfAbsent != 0:
		return Added{}, nil
	case !found:
		return Added{Score: score, Met: true, New: true}, z.insert(member, score)
	}
	if how&ZIncrement != 0 {
		if score += old; math.IsNaN(score) {
			return Added{}, ErrScoreNaN
		}
	}
	if (how&ZIfLess != 0 && score >= old) || (how&ZIfGreater != 0 && score <= old) {
		return Added{}, nil
	}
	if score == old {
		return Added{Score: score, Met: true}, nil
	}
	return Added{Score: score, Met: true, Moved: true}, z.move(member, old, score)
}

// Expect announces that n elements are going to be added, first before all: Redis chooses its encoding by that, and may do so although
// the elements turn out to be there.
func (z *ZSet) Expect(n int, first []byte) error {
	p := z.txn.Packing()
	if z.listpack() && (n > p.ZSetEntries || (!z.found && len(first) > p.ZSetValue)) {
		return z.outgrow()
	}
	return nil
}

// outgrow makes the set one that Redis would not hold in a listpack.
func (z *ZSet) outgrow() error {
	if z.spread() {
		z.setFlag(zsetListpack, false)
		z.dirty = true
		return nil
	}
	return z.spreadOut(0)
}

// insert adds an element that is not there.
func (z *ZSet) insert(member []byte, score float64) error {
	p := z.txn.Packing()
	err := error(nil)
	switch {
	case z.listpack() && (z.Len() >= int64(p.ZSetEntries) || len(member) > p.ZSetValue):
		err = z.outgrow()
	case !z.spread() && len(z.rec.Value)+entryLen(len(member))+scoreLen > p.Bytes:
		err = z.spreadOut(zsetListpack)
	}
	if err != nil {
		return err
	}
	z.dirty, z.found, z.rec.Type = true, true, keys.TypeZSet
	score = z.stored(score)
	if z.spread() {
		return z.insertSpread(member, score)
	}
	z.insertPacked(member, score)
	return nil
}

// stored is a score as it is kept: a listpack has integers as such, which have no -0.
func (z *ZSet) stored(score float64) float64 {
	if score == 0 && z.listpack() {
		return 0
	}
	return score
}

// move gives an element that is there another score.
func (z *ZSet) move(member []byte, old, score float64) error {
	z.dirty = true
	score = z.stored(score)
	if z.spread() {
		return z.moveSpread(member, old, score)
	}
	_, at, end := z.findPacked(member)
	z.cutPacked(at, end, 1)
	z.insertPacked(member, score)
	return nil
}

// Remove takes an element out and reports whether it was there.
func (z *ZSet) Remove(member []byte) (bool, error) {
	if !z.spread() {
		e, at, end := z.findPacked(member)
		if e.Member == nil {
			return false, nil
		}
		z.cutPacked(at, end, 1)
		z.dirty = true
		return true, nil
	}
	score, found, err := z.Score(member)
	if err != nil || !found {
		return false, err
	}
	z.dirty = true
	return true, z.removeSpread(member, score)
}

// Save writes the record of a set that was changed, or deletes the key if nothing is left.
func (z *ZSet) Save() error {
	if !z.dirty {
		return nil
	}
	z.dirty = false
	if z.Len() == 0 {
		z.found = false
		_, err := z.txn.Delete(z.key)
		return err
	}
	if z.spread() {
		return z.saveSpread()
	}
	return z.txn.Put(z.key, z.rec.Header, z.rec.Value)
}

// StoreZSet makes the elements, which are in order and differ, the sorted set at k, whatever was there; without elements the
// key is deleted.
func StoreZSet(t *engine.Txn, k engine.Key, elements []Scored) error {
	z := ZSet{txn: t, key: k, dirty: true}
	p := t.Packing()
	longest, size := 0, 0
	for _, e := range elements {
		longest = max(longest, len(e.Member))
		size += entryLen(len(e.Member)) + scoreLen
	}
	z.rec.Type = keys.TypeZSet
	err := error(nil)
	switch {
	case len(elements) > p.ZSetEntries || longest > p.ZSetValue:
		err = z.spreadOut(0)
	case size > p.Bytes:
		err = z.spreadOut(zsetListpack)
	default:
		z.rec.Value = make([]byte, 0, size)
	}
	for _, e := range elements {
		if err != nil {
			return err
		}
		score := z.stored(e.Score)
		if z.spread() {
			err = z.insertSpread(e.Member, score)
		} else {
			z.rec.Value = appendScored(z.rec.Value, e.Member, score)
			z.packedCount++
		}
	}
	if err != nil {
		return err
	}
	return z.Save()
}

// AddInTurn gives elements, for StoreZSet, the scores that they would have if they were added one after another: those that Redis would have
// put into a listpack first have no -0.
func AddInTurn(t *engine.Txn, elements []Scored) {
	p := t.Packing()
	for i := range elements {
		e := &elements[i]
		if i >= p.ZSetEntries || len(e.Member) > p.ZSetValue {
			return
		}
		if e.Score == 0 {
			e.Score = 0
		}
	}
}

// ZSetEncoding is what OBJECT ENCODING says about a sorted set's record.
func ZSetEncoding(rec engine.Record) string {
	if rec.Encoding == keys.EncodingSpread && (len(rec.Value) == 0 || rec.Value[0]&zsetListpack == 0) {
		return "skiplist"
	}
	return "listpack"
}

// The packed form.

func appendScored(dst, member []byte, score float64) []byte {
	return binary.BigEndian.AppendUint64(appendEntry(dst, member), math.Float64bits(score))
}

func takeScored(p []byte) (e Scored, rest []byte, err error) {
	if e.Member, rest, err = takeEntry(p); err != nil || len(rest) < scoreLen {
		return e, nil, errPacked
	}
	e.Score = math.Float64frombits(binary.BigEndian.Uint64(rest))
	return e, rest[scoreLen:], nil
}

// countScored counts the elements of a packed set, and is the check that the rest relies on.
func countScored(p []byte) (n int64, err error) {
	for len(p) > 0 {
		var e Scored
		if e, p, err = takeScored(p); err != nil || math.IsNaN(e.Score) {
			return 0, errPacked
		}
		n++
	}
	return n, nil
}

// findPacked returns an element, with a Member of nil if there is none, and where it lies.
func (z *ZSet) findPacked(member []byte) (e Scored, at, end int) {
	p := z.rec.Value
	for rest := p; len(rest) > 0; {
		at = len(p) - len(rest)
		e, rest, _ = takeScored(rest)
		if bytes.Equal(e.Member, member) {
			return e, at, len(p) - len(rest)
		}
	}
	return Scored{}, 0, 0
}

func (z *ZSet) cutPacked(from, to int, elements int64) {
	p := z.rec.Value
	z.rec.Value = append(append(make([]byte, 0, len(p)), p[:from]...), p[to:]...)
	z.packedCount -= elements
}

func (z *ZSet) insertPacked(member []byte, score float64) {
	p := z.rec.Value
	at := len(p)
	for rest := p; len(rest) > 0; {
		start := len(p) - len(rest)
		var e Scored
		if e, rest, _ = takeScored(rest); e.Score > score || (e.Score == score && bytes.Compare(e.Member, member) > 0) {
			at = start
			break
		}
	}
	grown := append(make([]byte, 0, len(p)+entryLen(len(member))+scoreLen), p[:at]...)
	z.rec.Value = append(appendScored(grown, member, score), p[at:]...)
	z.packedCount++
}

func decodeScore(v []byte) (float64, bool) {
	if len(v) != scoreLen {
		return 0, false
	}
	score := math.Float64frombits(binary.BigEndian.Uint64(v))
	return score, !math.IsNaN(score)
}
