package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/cairndb/cairn/tools/poll"
	"github.com/cairndb/cairn/tools/testnode"
)

// TestClusterStatusText reads what nodes answer and shows the screen. In the input "@ host:port" begins a node, "! text" says why it
// does not answer, "keys n" is its DBSIZE, name:value a field of CLUSTER INFO or INFO replication, and all else a line of CLUSTER NODES.
func TestClusterStatusText(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata/clusterstatus", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			report := assess(parseAnswers(t, d.Input))
			code := exitOK
			var e exitError
			if errors.As(report.exit(), &e) {
				code = e.code
			}
			return fmt.Sprintf("%s\nexit code %d\n", report.text(), code)
		})
	})
}

func parseAnswers(t *testing.T, input string) (answers []nodeAnswer) {
	t.Helper()
	var answer *nodeAnswer
	for line := range strings.Lines(input) {
		line = strings.TrimSpace(line)
		word, rest, _ := strings.Cut(line, " ")
		switch {
		case word == "@":
			answers = append(answers, nodeAnswer{addr: rest, keys: -1, fields: map[string]string{}})
			answer = &answers[len(answers)-1]
		case word == "!":
			answer.err = errors.New(rest)
		case word == "keys":
			answer.keys = number(rest)
		case rest == "":
			answer.add(line)
		default:
			answer.nodes = append(answer.nodes, parseNodes(line, answer.addr)...)
		}
	}
	return answers
}

// TestClusterStatusDoubts: nodes that differ are warned of only when they do so still after a moment, and have not just heard the news late.
func TestClusterStatusDoubts(t *testing.T) {
	t.Parallel()
	const (
		idA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		idB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	)
	// The nodes see the slots up to a, and up to b, as the first one's; open is a slot that only the first one has open.
	cluster := func(a, b, appliedA, appliedB, open int) *statusReport {
		node := func(addr, self string, last, applied int) string {
			flags := map[bool]string{true: "myself,master", false: "master"}
			given := ""
			if open > 0 && self == idA {
				given = fmt.Sprintf(" [%d->-%s]", open, idB)
			}
			return fmt.Sprintf("@ %s\n%s 127.0.0.1:7000@17000 %s - 0 0 1 connected 0-%d%s\n%s 127.0.0.1:7001@17001 %s - 0 0 2 connected %d-16383\n"+
				"cluster_state:ok\ncluster_group_applied:%d\n", addr, idA, flags[self == idA], last, given, idB, flags[self == idB], last+1, applied)
		}
		return assess(parseAnswers(t, node("127.0.0.1:7000", idA, a, appliedA)+node("127.0.0.1:7001", idB, b, appliedB)))
	}
	differ := []string{"127.0.0.1:7001: does not agree with 127.0.0.1:7000 on slots and roles"}
	halfOpen := []string{"slot 7: migrating on 127.0.0.1:7000, but not open on 127.0.0.1:7001: redis-cli --cluster fix"}
	for _, c := range []struct {
		name          string
		before, after *statusReport
		want          []string
	}{
		{"slots move on", cluster(100, 99, 10, 9, 0), cluster(105, 104, 15, 14, 0), nil},
		{"one that stays behind", cluster(100, 99, 10, 9, 0), cluster(105, 99, 15, 9, 0), differ},
		{"the same decisions and not the same view", cluster(100, 99, 10, 10, 0), cluster(100, 99, 10, 10, 0), differ},
		{"no group", cluster(100, 99, -1, -1, 0), cluster(100, 99, -1, -1, 0), differ},
		{"only now", cluster(100, 100, 10, 10, 0), cluster(100, 99, 10, 9, 0), nil},
		{"another slot is open", cluster(100, 100, 10, 10, 6), cluster(100, 100, 10, 10, 7), nil},
		{"a slot stays open", cluster(100, 100, 10, 10, 7), cluster(100, 100, 10, 10, 7), halfOpen},
	} {
		c.after.confirm(c.before)
		want := degraded
		if c.want == nil {
			want = healthy
		}
		if !slices.Equal(c.after.Warnings, c.want) || c.after.Health != want {
			t.Errorf("%s: %s, warnings %q, want %s, %q", c.name, c.after.Health, c.after.Warnings, want, c.want)
		}
	}
}

// TestClusterStatus asks a cluster of processes that is well, has lost a node, and is gone; a frozen node does not hold it up.
func TestClusterStatus(t *testing.T) {
	t.Parallel()
	nodes := testnode.StartCluster(t, 3, "--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no")
	for _, n := range nodes {
		if v, err := n.Do("CONFIG", "SET", "requirepass", "secret"); err != nil || v.IsError() {
			t.Fatal(v, err)
		}
	}
	// The group of epochs forms, and moves leases, while the status is asked: it is asked until it is as wanted.
	status := func(code int, right func(r statusReport) bool, seeds ...*testnode.Node) {
		t.Helper()
		args := []string{"cluster", "status", "--password", "secret", "--json", "--timeout", "10s"}
		for _, n := range seeds {
			args = append(args, n.Addr())
		}
		poll.Succeeds(t, 30*time.Second, func() error {
			var report statusReport
			cmd := exec.CommandContext(t.Context(), testnode.Binary(t), args...)
			out, _ := cmd.Output()
			if err := json.Unmarshal(out, &report); err != nil || cmd.ProcessState.ExitCode() != code || !right(report) {
				return fmt.Errorf("exit code %d, want %d (%v):\n%s", cmd.ProcessState.ExitCode(), code, err, out)
			}
			return nil
		})
	}
	status(exitOK, func(r statusReport) bool {
		return r.Health == healthy && len(r.Shards) == 3 && r.Slots == 16384 && len(r.Warnings) == 0 && r.Group != nil && len(r.Group.Answering) == 3
	}, nodes[0])
	if out := cairn(t, exitUnusable, "cluster", "status", nodes[0].Addr()); !strings.Contains(out, "NOAUTH") {
		t.Errorf("without a password:\n%s", out)
	}

	nodes[2].Kill()
	status(exitDegraded, func(r statusReport) bool {
		p := r.Shards[2].Primary
		return p.Health == "fail" && p.Address == nodes[2].Addr() && r.Shards[0].Primary.Health == "ok" && r.Group.Leader != nodes[2].Addr() &&
			slices.Contains(r.Warnings, nodes[2].Addr()+": fail, unreachable (connect: connection refused)")
	}, nodes[2], nodes[0])

	if err := nodes[1].Pause(); err != nil {
		t.Fatal(err)
	}
	out := cairn(t, exitUnusable, "cluster", "status", "--password", "secret", "--timeout", "300ms", nodes[1].Addr())
	if !strings.Contains(out, "no answer within 300ms") {
		t.Errorf("a frozen node:\n%s", out)
	}
}

// TestClusterStatusRefuses: wrong usage, nothing that listens, and what is no cluster.
func TestClusterStatusRefuses(t *testing.T) {
	t.Parallel()
	single := testnode.StartCairn(t)
	closed := loopback(freeRange(t, 1))
	for _, c := range []struct{ arg, want string }{
		{"nowhere", "give host:port"},
		{"127.0.0.1:0", "a number from 1 to 65535"},
		{closed, closed + ": connect: connection refused"},
		{single.Addr(), "cluster support disabled"},
	} {
		if out := cairn(t, exitUnusable, "cluster", "status", c.arg); !strings.Contains(out, c.want) {
			t.Errorf("%s says:\n%s", c.arg, out)
		}
	}
}

// TestClusterStatusFindsAll: a node that only another one knows is asked, too, and each one once.
func TestClusterStatusFindsAll(t *testing.T) {
	t.Parallel()
	asked := map[string]bool{"a": true}
	answers := []nodeAnswer{{nodes: parseNodes("a :7000@17000 myself,master - 0 0 1 connected\nb 10.0.0.2:7000@17000,host master - 0 0 1 connected\n"+
		"c ::1:7000@17000 slave b 0 0 1 connected\nd :0@0 master,noaddr - 0 0 1 disconnected", "10.0.0.1:7000")}}
	want := []string{"10.0.0.2:7000", net.JoinHostPort("::1", "7000")}
	if got := unasked(answers, asked); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("to be asked: %v, want %v", got, want)
	}
	if got := unasked(answers, asked); got != nil {
		t.Errorf("asked twice: %v", got)
	}
	if got := answers[0].self().addr; got != "10.0.0.1:7000" {
		t.Errorf("the asked node is at %q", got)
	}
}
