package main

import "syscall"

// childAttributes puts a node into its own process group and ends it, gracefully, when this program is killed.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
