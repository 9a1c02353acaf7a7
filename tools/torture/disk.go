package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// disk is a small file system of its own (tmpfs) for one node's folder, which can be filled.
type disk struct{ dir string }

const diskSize = "size=768m"

func newDisk(dir string) (*disk, error) {
	if os.Getuid() != 0 {
		return nil, errors.New("not root")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", diskSize, "cairn-torture", dir).CombinedOutput(); err != nil {
		return nil, errors.Join(err, errors.New(string(out)))
	}
	return &disk{dir: dir}, nil
}

func (d *disk) ballast() string { return filepath.Join(d.dir, "ballast") }

// fill takes all the room that is left.
func (d *disk) fill() error {
	f, err := os.Create(d.ballast())
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, zeroes{}); err == nil {
		return errors.New("the disk has no end")
	}
	return nil
}

func (d *disk) empty() error {
	if err := os.Remove(d.ballast()); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (d *disk) close() { _ = exec.Command("umount", "-l", d.dir).Run() }

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
