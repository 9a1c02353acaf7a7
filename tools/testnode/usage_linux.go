package testnode

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// clockTick is the unit of the times in /proc/PID/stat: USER_HZ is 100 on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// dieWithParent makes the kernel kill the process when this one ends, so that an aborted test leaves nothing behind.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// stopped says whether all threads of a child process stand still.
func stopped(pid int) (bool, error) {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, pid, &info, unix.WSTOPPED|unix.WNOHANG|unix.WNOWAIT, nil)
	return info.Signo != 0, err
}

// Usage reads the process's accounting from /proc.
func (n *Node) Usage() (Usage, error) {
	pid := n.PID()
	if pid == 0 {
		return Usage{}, ErrExited
	}
	return ProcessUsage(pid)
}

// ProcessUsage reads the accounting of any process from /proc.
func ProcessUsage(pid int) (Usage, error) {
	var u Usage
	dir := fmt.Sprintf("/proc/%d/", pid)
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return u, err
	}
	// The command's name, in brackets, may hold spaces; the fields after it are counted from 3 (state).
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return u, fmt.Errorf("%sstat: %d fields", dir, len(fields))
	}
	u.User = ticks(fields[11])
	u.System = ticks(fields[12])
	status := procFields(dir + "status")
	u.RSS, u.PeakRSS = status["VmRSS"]<<10, status["VmHWM"]<<10
	u.Threads = int(status["Threads"])
	io := procFields(dir + "io")
	u.Read, u.Written = io["read_bytes"], io["write_bytes"]
	if fds, err := os.ReadDir(dir + "fd"); err == nil {
		u.Files = len(fds)
	}
	return u, nil
}

func ticks(b []byte) time.Duration {
	n, _ := strconv.ParseInt(string(b), 10, 64)
	return time.Duration(n) * clockTick
}

// procFields reads the numbers of a file of "name: number unit" lines; a file that cannot be read has none.
func procFields(path string) map[string]int64 {
	fields := make(map[string]int64)
	f, err := os.Open(path)
	if err != nil {
		return fields
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		name, rest, _ := strings.Cut(s.Text(), ":")
		if words := strings.Fields(rest); len(words) > 0 {
			if v, err := strconv.ParseInt(words[0], 10, 64); err == nil {
				fields[name] = v
			}
		}
	}
	return fields
}
