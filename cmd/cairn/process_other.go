//go:build !linux

package main

import "syscall"

// childAttributes puts a node into its own process group.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
