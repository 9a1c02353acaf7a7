// Package log is the one log of a node: the ordered, checksummed stream of
// everything that changes the store. Import it under a name such as wal.
package log
