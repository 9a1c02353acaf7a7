package cluster

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairndb/cairn/cluster/slotmap"
)

func exampleTable() *table {
	t := newTable(record{ID: digitID("a"), Version: 1, Epoch: 3, Shard: digitID("1"), IP: "10.0.0.1", Port: 6379, BusPort: 16379,
		Slots: ranges("0-5,9")}, Settings{NodeTimeout: time.Second}, 0)
	t.merge(&state{Sender: digitID("b"), CurrentEpoch: 8, Records: []record{
		{ID: digitID("b"), Version: 1, Epoch: 2, Shard: digitID("2"), IP: "fd00::2", Hostname: "b.example", Port: 7000, BusPort: 17001, Slots: ranges("6-8")},
	}}, true, 0)
	t.migrating[5] = digitID("b")
	t.importing[6] = digitID("b")
	return t
}

func TestConfReadsBack(t *testing.T) {
	t.Parallel()
	table := exampleTable()
	text := table.conf()
	want := fmt.Sprintf("%s 10.0.0.1:6379@16379,,shard-id=%s myself,master - 0 0 3 connected 0-5 9 [5->-%s] [6-<-%s]\n",
		digitID("a"), digitID("1"), digitID("b"), digitID("b")) +
		fmt.Sprintf("%s fd00::2:7000@17001,b.example,shard-id=%s master - 0 0 2 connected 6-8\n", digitID("b"), digitID("2")) +
		"vars currentEpoch 8 lastVoteEpoch 0\n"
	if string(text) != want {
		t.Errorf("written:\n%s\nwanted:\n%s", text, want)
	}
	s, err := parseConf(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if s.self != digitID("a") || s.currentEpoch != 8 || s.migrating[5] != digitID("b") || s.importing[6] != digitID("b") {
		t.Errorf("%+v", s)
	}
	for i, id := range table.ids() {
		r := table.peers[id].record
		r.Version = 0
		if !reflect.DeepEqual(s.records[i], r) {
			t.Errorf("%+v has become %+v", r, s.records[i])
		}
	}
}

// A file that Redis 7.2 wrote.
func TestConfOfRedis(t *testing.T) {
	t.Parallel()
	text := "a2c7001712902e00f4d7fd2104c7cd851173987e 127.0.0.1:7001@17001,,tls-port=0,shard-id=69bc080733d1355567173199cff4a6a039a2f024 master - 1700000000000 1700000000001 2 connected 5461-10922\n" +
		"b2c7001712902e00f4d7fd2104c7cd851173987e 127.0.0.1:7000@17000,,tls-port=0,shard-id=79bc080733d1355567173199cff4a6a039a2f024 myself,master - 0 1700000000000 1 connected 0-5460 [77->-a2c7001712902e00f4d7fd2104c7cd851173987e]\n" +
		"c2c7001712902e00f4d7fd2104c7cd851173987e :0@0,,tls-port=0,shard-id= master,noaddr - 0 0 0 disconnected\n" +
		"vars currentEpoch 2 lastVoteEpoch 0\n"
	s, err := parseConf(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.records) != 2 || s.self != "b2c7001712902e00f4d7fd2104c7cd851173987e" || s.records[0].Shard != "69bc080733d1355567173199cff4a6a039a2f024" {
		t.Errorf("%+v", s)
	}
}

// After a crash at any moment the file is the old or the new one.
func TestConfSurvivesCrashes(t *testing.T) {
	t.Parallel()
	fs := vfs.NewCrashableMem()
	if err := fs.MkdirAll("/node", 0o755); err != nil {
		t.Fatal(err)
	}
	st, was, err := openStore(fs, "/node/nodes.conf")
	if err != nil || was != nil {
		t.Fatal(err, was)
	}
	for _, dir := range []string{"/", "/node"} {
		d, err := fs.OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	table := exampleTable()
	for epoch := uint64(10); epoch < 30; epoch++ {
		table.currentEpoch = epoch
		if err := save(st, table.conf(), epoch); err != nil {
			t.Fatal(err)
		}
		crashed := fs.CrashClone(vfs.CrashCloneCfg{})
		_, s, err := openStore(crashed, "/node/nodes.conf")
		if err != nil || s == nil || s.currentEpoch != epoch {
			t.Fatalf("saved epoch %d, after a crash: %v %+v", epoch, err, s)
		}
	}
}

func FuzzParseConf(f *testing.F) {
	f.Add(exampleTable().conf())
	f.Add([]byte("vars currentEpoch 6 lastVoteEpoch 0"))
	f.Add([]byte(strings.Repeat("a", 40) + " :7000@17000 myself,master - 0 0 0 connected 1 2 5-9 [7-<-" + strings.Repeat("b", 40) + "]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseConf(bytes.NewReader(b))
		if err != nil || s.self == "" {
			return
		}
		for _, r := range s.records {
			if _, ok := slotmap.ParseNodeID(string(r.ID)); !ok {
				t.Fatalf("node %q", r.ID)
			}
		}
	})
}

// What SETSLOT marks outlives the process at once; of a torn note nothing stays.
func TestNotes(t *testing.T) {
	t.Parallel()
	files := vfs.NewMem()
	st, _, err := openStore(files, "nodes.conf")
	if err != nil {
		t.Fatal(err)
	}
	table := exampleTable()
	early := table.conf()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	reads := func(want string) {
		t.Helper()
		s, err := st.load()
		must(err)
		if got := fmt.Sprint(s.migrating, s.importing); got != want {
			t.Errorf("read %s, want %s", got, want)
		}
	}
	a, b := digitID("a"), digitID("b")
	must(save(st, early, 1))
	must(addNote(st, note{turn: 2, line: noteMigrating(1, b)}))
	must(addNote(st, note{turn: 3, line: noteImporting(8, b)}))
	must(addNote(st, note{turn: 4, line: noteStable(5)}))
	reads(fmt.Sprintf("map[1:%s] map[6:%s 8:%s]", b, b, b))
	// A text that was made before a note does not take it away, one that was made later does.
	must(save(st, early, 1))
	reads(fmt.Sprintf("map[1:%s] map[6:%s 8:%s]", b, b, b))
	must(save(st, append(early, noteMigrating(2, a)...), 3))
	reads(fmt.Sprintf("map[2:%s] map[6:%s]", a, b))
	must(save(st, early, 5))
	reads(fmt.Sprintf("map[5:%s] map[6:%s]", b, b))
	for _, torn := range []string{"[7->-abc", "[7", "\x00\x00\x00\n", "[7->-" + string(a), strings.Repeat("x", 2*maxConfLine)} {
		must(save(st, early, 6))
		must(addNote(st, note{turn: 6, line: torn}))
		reads(fmt.Sprintf("map[5:%s] map[6:%s]", b, b))
		st.forget()
	}
	must(st.close())
}

func save(st *store, text []byte, turn uint64) error {
	st.put(text, turn)
	return st.flush(turn)
}

func addNote(st *store, n note) error {
	st.add(n)
	return st.flushNotes()
}
