//go:build cgo

package engine

// pebbleUsesC: see Options.OutsideHeap.
const pebbleUsesC = true
