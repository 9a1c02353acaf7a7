package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// disk is a small file system of its own (tmpfs) for one node's folder, which can be filled.
type disk struct{ dir string }

const diskSize = "size=768m"

func newDisk(dir string) (*disk, error) {
	if os.Getuid() != 0 {
		return nil, errors.New("not root")
	}
	unmountStale()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", diskSize, fmt.Sprint(namespacePrefix, os.Getpid(), "-"), dir).CombinedOutput(); err != nil {
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

// close removes the file system; what it holds goes to the folder beneath if it is to be kept.
func (d *disk) close(keep bool) error {
	if err := d.empty(); err != nil {
		return err
	}
	kept := d.dir + ".kept"
	if keep {
		if err := os.CopyFS(kept, os.DirFS(d.dir)); err != nil {
			return err // it stays mounted
		}
	}
	if err := exec.Command("umount", "-l", d.dir).Run(); err != nil || !keep {
		return err
	}
	if err := os.Remove(d.dir); err != nil {
		return err
	}
	return os.Rename(kept, d.dir)
}

// unmountStale removes the file systems of runs that were killed.
func unmountStale() {
	mounts, _ := os.ReadFile("/proc/mounts")
	for line := range strings.Lines(string(mounts)) {
		if words := strings.Fields(line); len(words) > 1 && stale(words[0]) {
			_ = exec.Command("umount", "-l", words[1]).Run()
		}
	}
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
