package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// nodeGroup is the nodes of a cluster as processes of this program.
type nodeGroup struct {
	primaries int // the first of nodes
	out       io.Writer
	nodes     []*process
	ended     chan *process // each process once, when it has ended
}

// process is one node. Its output goes to a log file beside its data folder.
type process struct {
	port    int
	logPath string
	cmd     *exec.Cmd
	done    chan struct{} // closed when it has ended; err is valid then
	err     error
}

// start runs a node with its data in dir and its log in dir.log. It gets a process group of its own, so that a
// terminal's Ctrl-C reaches only this program, which then stops all nodes in order.
func (g *nodeGroup) start(port int, dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	p := &process{port: port, logPath: dir + ".log", done: make(chan struct{})}
	log, err := os.OpenFile(p.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own descriptor
	p.cmd = exec.Command(self, "server", "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir, "--cluster-enabled", "yes", "--cluster-node-timeout", "5000")
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = childAttributes()
	if err := p.cmd.Start(); err != nil {
		return err
	}
	g.nodes = append(g.nodes, p)
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
		g.ended <- p
	}()
	return nil
}

// watch reports nodes that end, until ctx ends or none is left.
func (g *nodeGroup) watch(ctx context.Context) error {
	for left := len(g.nodes); left > 0; left-- {
		select {
		case <-ctx.Done():
			fmt.Fprintln(g.out, "\nStopping the nodes")
			return nil
		case p := <-g.ended:
			fmt.Fprintln(g.out, p.obituary())
		}
	}
	return errors.New("all nodes have ended")
}

// stop ends all nodes gracefully and waits for them; those that take too long are killed. Replicas go first, so that no primary
// hands over to one that stops, too.
func (g *nodeGroup) stop() error {
	var replicas, others []*process
	for _, p := range g.nodes {
		var text string
		if err := p.do(&text, "INFO", "replication"); err == nil && fields(text)["role"] == "slave" {
			replicas = append(replicas, p)
		} else {
			others = append(others, p)
		}
	}
	deadline := time.After(stopTimeout)
	return errors.Join(end(replicas, deadline), end(others, deadline))
}

// end ends nodes side by side.
func end(nodes []*process, deadline <-chan time.Time) error {
	for _, p := range nodes {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	}
	var errs []error
	for _, p := range nodes {
		select {
		case <-p.done:
		case <-deadline:
			_ = p.cmd.Process.Kill()
			<-p.done
			errs = append(errs, fmt.Errorf("node %d did not stop within %v and was killed", p.port, stopTimeout))
		}
	}
	return errors.Join(errs...)
}

// obituary tells how a node ended, with the end of its log.
func (p *process) obituary() string {
	how := "with exit code 0"
	if p.err != nil {
		how = p.err.Error()
	}
	return fmt.Sprintf("Node %d ended: %s. The end of %s:\n%s", p.port, how, p.logPath, p.logTail())
}

const (
	tailBytes = 4 << 10
	tailLines = 10
)

// logTail returns the last lines of the node's log, indented.
func (p *process) logTail() string {
	f, err := os.Open(p.logPath)
	if err != nil {
		return "  " + err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > tailBytes {
		_, _ = f.Seek(-tailBytes, io.SeekEnd) // failing, the beginning is shown
	}
	content, _ := io.ReadAll(io.LimitReader(f, tailBytes))
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	lines = lines[max(0, len(lines)-tailLines):]
	return "  " + strings.Join(lines, "\n  ")
}
