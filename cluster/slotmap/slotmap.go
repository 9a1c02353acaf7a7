// Package slotmap is the immutable map from slots to nodes, with epochs.
package slotmap

// NodeID is 40 lower-case hex digits; empty for nobody.
type NodeID string
