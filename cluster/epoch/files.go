package epoch

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
)

// Besides the member's folder there are two small files, each followed by its CRC-32C: the identity, and the
// newest table that this node has followed, with which it finds the voters again after a restart.

const (
	tableFile     = "table"
	damagedFolder = "damaged" // a member's log that could not be read
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func seal(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func unseal(b []byte) ([]byte, bool) {
	if len(b) < 4 {
		return nil, false
	}
	body := b[:len(b)-4]
	return body, crc32.Checksum(body, castagnoli) == binary.LittleEndian.Uint32(b[len(body):])
}

// loadTable reads the table of the last run, an empty one if there is none: it is news from gossip then.
func loadTable(dir string) *Table {
	b, err := os.ReadFile(filepath.Join(dir, tableFile))
	if err != nil {
		return empty()
	}
	body, ok := unseal(b)
	if !ok {
		return empty()
	}
	t, err := decodeTable(body)
	if err != nil {
		return empty()
	}
	return t
}

func storeTable(dir string, t *Table) error {
	return writeFile(filepath.Join(dir, tableFile), seal(appendTable(nil, t, false)))
}

// writeFile replaces a file as a whole, durably.
func writeFile(path string, b []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	err = d.Sync()
	if e := d.Close(); err == nil {
		err = e
	}
	return err
}
