//go:build amd64 || arm64

package engine

import "unsafe"

// prefetchLine brings the line of memory that holds address p near the processor, without waiting for it.
//
//go:noescape
func prefetchLine(p unsafe.Pointer)

func prefetch[T any](p *T) { prefetchLine(unsafe.Pointer(p)) }
