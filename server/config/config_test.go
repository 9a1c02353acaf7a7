package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestData runs the stories in testdata. Their commands:
//
//	load [args=(…)]   the input is the file; prints the error or what was ignored
//	set               each line "name value" is a pair of one CONFIG SET
//	get               each line is a pattern of one CONFIG GET
//	rewrite           CONFIG REWRITE, then the file
//	split             each line divided into words
func TestData(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		dir := t.TempDir()
		c := Default()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			out := story(&c, filepath.Join(dir, "cairn.conf"), d)
			return strings.ReplaceAll(out, dir+"/", "")
		})
	})
}

func story(c **Config, path string, d *datadriven.TestData) string {
	switch d.Cmd {
	case "file":
		name := filepath.Join(filepath.Dir(path), d.CmdArgs[0].Key)
		return outcome(os.WriteFile(name, []byte(d.Input+"\n"), 0o600))
	case "load":
		input := strings.ReplaceAll(d.Input, "$DIR", filepath.Dir(path))
		if err := os.WriteFile(path, []byte(input+"\n"), 0o640); err != nil {
			return err.Error()
		}
		var args []string
		for _, a := range d.CmdArgs {
			if a.Key == "args" {
				args = a.Vals
			}
		}
		loaded, ignored, err := Load(path, args)
		if err != nil {
			return err.Error()
		}
		*c = loaded
		return "ignored: " + strings.Join(ignored, " ")
	case "set":
		var pairs [][2]string
		for _, line := range strings.Split(d.Input, "\n") {
			name, v, _ := strings.Cut(line, " ")
			pairs = append(pairs, [2]string{name, v})
		}
		return outcome((*c).Set(pairs))
	case "get":
		var b strings.Builder
		for _, p := range (*c).Get(strings.Split(d.Input, "\n")) {
			fmt.Fprintf(&b, "%s %q\n", p[0], p[1])
		}
		return b.String()
	case "rewrite":
		if err := (*c).Rewrite(); err != nil {
			return err.Error()
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err.Error()
		}
		return blankLines.Replace(string(content))
	case "split":
		words, err := splitLine(d.Input)
		if err != nil {
			return err.Error()
		}
		return fmt.Sprintf("%q", words)
	}
	return "unknown command " + d.Cmd
}

// blankLines shows empty lines, which would end a datadriven block.
var blankLines = strings.NewReplacer("\n\n", "\n(blank)\n")

func outcome(err error) string {
	if err != nil {
		return err.Error()
	}
	return "ok"
}

func TestWatchersCanRefuse(t *testing.T) {
	t.Parallel()
	c := Default()
	var seen []int
	c.OnChange([]string{"maxclients"}, func() error {
		seen = append(seen, c.MaxClients())
		if c.MaxClients() > 100 {
			return errors.New("too many")
		}
		return nil
	})
	if err := c.Set([][2]string{{"maxclients", "50"}, {"timeout", "7"}}); err != nil {
		t.Fatal(err)
	}
	err := c.Set([][2]string{{"timeout", "9"}, {"maxclients", "500"}})
	if err == nil || !strings.HasSuffix(err.Error(), "too many") {
		t.Fatalf("error %v", err)
	}
	if c.MaxClients() != 50 || c.Timeout().Seconds() != 7 {
		t.Fatalf("not undone: maxclients %d, timeout %v", c.MaxClients(), c.Timeout())
	}
	if err := c.Set([][2]string{{"maxclients", "50"}}); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(seen); got != "[50 500 50]" {
		t.Fatalf("watcher saw %s: it is called for changes only, and once more to undo", got)
	}
}

func TestGettersWhileSetting(t *testing.T) {
	t.Parallel()
	c := Default()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 200 {
				if i == 0 {
					if err := c.Set([][2]string{{"timeout", fmt.Sprint(n)}, {"requirepass", fmt.Sprint(n)}}); err != nil {
						t.Error(err)
					}
				}
				_, _, _ = c.Timeout(), c.RequirePass(), c.ClientOutputLimit(ClassNormal)
			}
		})
	}
	wg.Wait()
}

// TestSampleFile compares cairn.conf with the table: it loads, changes nothing, and shows each of Cairn's own
// directives with its default, and those of Redis about replicas and clusters that mean something.
func TestSampleFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "..", "cairn.conf")
	c, ignored, err := Load(path, nil)
	if err != nil || len(ignored) > 0 {
		t.Fatalf("ignored %v, error %v", ignored, err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]string{}
	for _, line := range strings.Split(string(content), "\n") {
		line = strings.TrimPrefix(line, "# ")
		if name, v, ok := strings.Cut(line, " "); ok && byName[name] != nil && strings.ToLower(name) == name {
			shown[name] += v + "\n"
		}
	}
	for _, d := range all {
		v := c.value(d)
		if def := Default().value(d); v.text != def.text {
			t.Errorf("cairn.conf sets %s to %q; the default is %q", d.Name, v.text, def.text)
		}
		if slices.Contains(clusterDirectives, d) || slices.Contains(replication, d) {
			if d.Flags&Ignored == 0 && shown[d.Name] == "" {
				t.Errorf("cairn.conf does not show %s", d.Name)
			}
		}
		if d.Flags&Own != 0 && !strings.Contains("\n"+shown[d.Name], "\n"+quote(d.Default)+"\n") {
			t.Errorf("cairn.conf does not show %s %s", d.Name, quote(d.Default))
		}
	}
}

func TestRewriteKeepsModeAndLinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real.conf"), filepath.Join(dir, "link.conf")
	if err := errors.Join(os.WriteFile(real, []byte("timeout 3\n"), 0o600), os.Symlink(real, link)); err != nil {
		t.Fatal(err)
	}
	c, _, err := Load(link, nil)
	if err == nil {
		err = errors.Join(c.Set([][2]string{{"timeout", "4"}}), c.Rewrite())
	}
	if err != nil {
		t.Fatal(err)
	}
	content, _ := os.ReadFile(real)
	info, _ := os.Stat(real)
	if at, _ := os.Lstat(link); at.Mode()&os.ModeSymlink == 0 || string(content) != "timeout 4\n" || info.Mode().Perm() != 0o600 {
		t.Fatalf("content %q, mode %v, link %v", content, info.Mode(), at.Mode())
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 2 {
		t.Fatalf("left behind: %v", entries)
	}
}

// FuzzLoad feeds files to the parser: whatever loads can be written back and loads again to the same values.
func FuzzLoad(f *testing.F) {
	for _, s := range []string{"port 1\n", "save 900 1\nsave 60 10", "requirepass \"a\\x41\\n b\"", "include x", "client-output-buffer-limit normal 1mb 2kb 3",
		"bind 127.0.0.1 -::1", "requirepass 'it\\'s'", "notify-keyspace-events KEA", "maxmemory-clients 5%", "timeout \"1", "# x\n\nhz 5", "logfile \"\x00\""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, content string) {
		if strings.Contains(content, "include") {
			t.Skip() // would read the machine's files
		}
		c, _, err := LoadFrom("", strings.NewReader(content), nil)
		if err != nil {
			return
		}
		written := c.rewritten(content)
		again, _, err := LoadFrom("", strings.NewReader(written), nil)
		if err != nil {
			t.Fatalf("%q was written as %q: %v", content, written, err)
		}
		for _, d := range all {
			if a, b := c.value(d).text, again.value(d).text; a != b {
				t.Fatalf("%s was %q, is %q after %q", d.Name, a, b, written)
			}
		}
	})
}

// A file that is named again may hold something else by now.
func TestVolatile(t *testing.T) {
	t.Parallel()
	c, calls := Default(), map[string]int{}
	for _, name := range []string{"tls-cert-file", "maxclients"} {
		c.OnChange([]string{name}, func() error { calls[name]++; return nil })
	}
	for range 3 {
		if err := c.Set([][2]string{{"tls-cert-file", "node.pem"}, {"maxclients", "77"}}); err != nil {
			t.Fatal(err)
		}
	}
	if calls["tls-cert-file"] != 3 || calls["maxclients"] != 1 {
		t.Errorf("told %v", calls)
	}
}
