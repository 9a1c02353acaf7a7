//go:build !linux

package command

// multiplexing is how connections are served here.
const multiplexing = "net"
