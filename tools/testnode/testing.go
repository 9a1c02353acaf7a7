package testnode

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// RequirePeers names the environment variable that turns the absence of a
// peer (redis-server, redis-cli, node …) from a skip into a failure.
const RequirePeers = "CAIRN_REQUIRE_PEERS"

// Missing skips the test because a peer is not there, or fails it where peers are required.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv(RequirePeers) == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format+" ("+RequirePeers+"=1 makes this a failure)", args...)
}

// Peer returns the path of a program that the test compares with or drives.
func Peer(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Missing(t, "%s is not installed", name)
	}
	return path
}

// StartRedis starts a redis-server with an append-only file (everysec) and without snapshots; the test ends it.
func StartRedis(t testing.TB, args ...string) *Node {
	t.Helper()
	return start(t, RedisOptions(Peer(t, "redis-server"), filepath.Join(t.TempDir(), "redis"), args...))
}

// StartCairn builds cairn and starts a server; the test ends it.
func StartCairn(t testing.TB, args ...string) *Node {
	t.Helper()
	return start(t, CairnOptions(Binary(t), filepath.Join(t.TempDir(), "cairn"), args...))
}

// RedisOptions describes a redis-server with an append-only file and without snapshots.
func RedisOptions(binary, dir string, args ...string) Options {
	args = append([]string{"--save", "", "--appendonly", "yes", "--enable-debug-command", "yes"}, args...)
	return Options{Command: []string{binary}, Dir: dir, Args: args}
}

// CairnOptions describes a cairn server.
func CairnOptions(binary, dir string, args ...string) Options {
	return Options{Command: []string{binary, "server"}, Dir: dir, Args: args}
}

func start(t testing.TB, o Options) *Node {
	t.Helper()
	n, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	Register(t, n)
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	return n
}

// Register kills the node at the test's end, and shows the end of its log if the test failed.
func Register(t testing.TB, n *Node) {
	t.Cleanup(func() {
		n.Kill()
		if t.Failed() {
			t.Logf("log of port %d:\n%s", n.Port, n.LogTail(4000))
		}
	})
}

var build struct {
	sync.Once
	path string
	err  error
}

// Binary returns the path of the cairn program, built from the sources at the
// first call in the process. CAIRN_BINARY names another one to test.
func Binary(t testing.TB) string {
	t.Helper()
	build.Do(func() { build.path, build.err = Build() })
	if build.err != nil {
		t.Fatal(build.err)
	}
	return build.path
}

// Build compiles cairn into bin/test of the module, and returns the program's path.
func Build() (string, error) {
	if path := os.Getenv("CAIRN_BINARY"); path != "" {
		return filepath.Abs(path)
	}
	return BuildTagged("")
}

// BuildTagged is Build with a build tag, such as one for a program that can be stopped at chosen steps.
func BuildTagged(tag string) (string, error) {
	root, err := ModuleRoot()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, "bin", "test")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	// Test processes run side by side: each builds under a name of its own and renames, so that a running program is never written to.
	name := "cairn" + tag
	temp := filepath.Join(dir, fmt.Sprintf("%s.%d", name, os.Getpid()))
	defer os.Remove(temp)
	cmd := exec.Command("go", "build", "-tags", tag, "-o", temp, "./cmd/cairn")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building cairn: %w\n%s", err, out)
	}
	path := filepath.Join(dir, name)
	return path, os.Rename(temp, path)
}

// ModuleRoot is the folder of go.mod at or above the working directory.
func ModuleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod at or above the working directory")
		}
		dir = parent
	}
}
