package keys_test

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/cairndb/cairn/engine/keys"
)

// TestGolden shows each kind of stored key and value as hexadecimal digits.
func TestGolden(t *testing.T) {
	t.Parallel()
	datadriven.RunTest(t, "testdata/golden", func(t *testing.T, d *datadriven.TestData) string {
		var slotOf, name, sub string
		var db, kind, typ, encoding int
		var id, count, at, fields, modified, next, size uint64
		d.MaybeScanArgs(t, "slot", &slotOf)
		d.MaybeScanArgs(t, "name", &name)
		d.MaybeScanArgs(t, "sub", &sub)
		d.MaybeScanArgs(t, "kind", &kind)
		d.MaybeScanArgs(t, "type", &typ)
		d.MaybeScanArgs(t, "encoding", &encoding)
		for arg, p := range map[string]*uint64{"id": &id, "count": &count, "at": &at, "modified": &modified, "expire": &at, "fields": &fields, "next": &next, "bytes": &size} {
			d.MaybeScanArgs(t, arg, p)
		}
		slot := keys.Slot([]byte(slotOf))
		if d.Cmd != "counters" {
			d.MaybeScanArgs(t, "db", &db)
		}
		var out []byte
		switch d.Cmd {
		case "meta":
			out = keys.AppendMeta(nil, slot, uint8(db), []byte(name))
		case "sub":
			b, err := hex.DecodeString(sub)
			if err != nil {
				t.Fatal(err)
			}
			out = keys.AppendSub(nil, slot, id, b)
		case "garbage":
			out = keys.AppendGarbage(nil, slot, id)
		case "expiry":
			out = keys.AppendExpiry(nil, slot, int64(at), keys.ExpiryKind(kind), uint8(db), []byte(name))
		case "counters-key":
			out = keys.AppendCounters(nil, slot)
		case "import-key":
			out = keys.AppendImport(nil, slot)
		case "node":
			return fmt.Sprintf("%x %x %x\n", keys.AppliedKey, keys.DatabasesKey, keys.SummaryKey)
		case "header":
			h := keys.Header{Type: keys.Type(typ), Encoding: keys.Encoding(encoding), Modified: uint32(modified), ExpireAt: int64(at), FieldExpireAt: int64(fields), ID: id, Count: count, Bytes: size}
			out = h.Append(nil)
		case "counters":
			c := keys.Counters{NextID: next}
			for _, arg := range d.CmdArgs {
				if arg.Key == "db" {
					var e keys.DBCounters
					if _, err := fmt.Sscanf(strings.Join(arg.Vals, ","), "%d,%d,%d,%d", &e.DB, &e.Keys, &e.Expires, &e.Bytes); err != nil {
						t.Fatal(err)
					}
					c.DBs = append(c.DBs, e)
				}
			}
			out = c.Append(nil)
		default:
			t.Fatalf("unknown command %s", d.Cmd)
		}
		return hex.EncodeToString(out) + "\n"
	})
}
