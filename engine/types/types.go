// Package types is Redis's data types on an engine transaction: one file a
// type, with its encodings and operations. It knows no protocol; with package
// engine it is an embedded database.
//
// Operations check everything before their first write, so that a failed one
// changes nothing. What they read stays valid until the transaction ends.
package types

import (
	"errors"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/keys"
)

// Errors that an operation returns when the data or an argument does not allow it.
var (
	ErrWrongType  = errors.New("types: the key holds another type of value")
	ErrNotInteger = errors.New("types: not an integer or out of range")
	ErrNotFloat   = errors.New("types: not a float")
	ErrOverflow   = errors.New("types: increment or decrement would overflow")
	ErrNaN        = errors.New("types: increment would produce NaN or infinity")
	ErrNoKey      = errors.New("types: no such key")
	ErrTooLong    = errors.New("types: the string would exceed the maximum length")
	ErrListFull   = errors.New("types: the list has no room at this end")
)

// read returns the live record of k if it has the wanted type.
func read(t *engine.Txn, k engine.Key, want keys.Type) (engine.Record, bool, error) {
	rec, ok, err := t.Get(k)
	if err == nil && ok && rec.Type != want {
		err = ErrWrongType
	}
	return rec, ok && err == nil, err
}

// subSize is what a sub-key adds to Header.Bytes.
func subSize(sub, value []byte) int64 { return int64(keys.SubBytes(sub, value)) }

// walked says whether a sub-key of a type is written by engine.Txn.PutWalked: of a sorted set all but the members are.
func walked(t keys.Type, sub []byte) bool {
	return t == keys.TypeZSet && len(sub) > 0 && sub[0] != zsetMembers
}
