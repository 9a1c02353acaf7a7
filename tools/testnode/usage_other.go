//go:build !linux

package testnode

import (
	"errors"
	"os/exec"
)

func dieWithParent(*exec.Cmd) {}

// stopped cannot tell.
func stopped(int) (bool, error) { return true, nil }

// Usage is known on Linux only.
func (n *Node) Usage() (Usage, error) { return Usage{}, errors.ErrUnsupported }

// ProcessUsage is known on Linux only.
func ProcessUsage(int) (Usage, error) { return Usage{}, errors.ErrUnsupported }
