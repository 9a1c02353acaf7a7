package keys

import "bytes"

// crc16Tab[0] is the table of CRC-16/XMODEM (polynomial 0x1021, initial value 0), as in the Redis Cluster
// spec, "Appendix A"; the others shift it by one more byte, so that eight bytes
// are looked up at once ("slicing by 8").
var crc16Tab = makeTables()

func makeTables() (t [8][256]uint16) {
	for i := range t[0] {
		c := uint16(i) << 8
		for range 8 {
			if c&0x8000 != 0 {
				c = c<<1 ^ 0x1021
			} else {
				c <<= 1
			}
		}
		t[0][i] = c
	}
	for i := range t[0] {
		for j := 1; j < len(t); j++ {
			prev := t[j-1][i]
			t[j][i] = prev<<8 ^ t[0][prev>>8]
		}
	}
	return t
}

// CRC16 is the checksum that hash slots are computed with.
func CRC16(p []byte) uint16 {
	var c uint16
	for len(p) >= 8 {
		c = crc16Tab[7][p[0]^byte(c>>8)] ^ crc16Tab[6][p[1]^byte(c)] ^
			crc16Tab[5][p[2]] ^ crc16Tab[4][p[3]] ^ crc16Tab[3][p[4]] ^
			crc16Tab[2][p[5]] ^ crc16Tab[1][p[6]] ^ crc16Tab[0][p[7]]
		p = p[8:]
	}
	for _, b := range p {
		c = c<<8 ^ crc16Tab[0][byte(c>>8)^b]
	}
	return c
}

// Slot returns the hash slot of a user key, honouring hash tags
// (Redis Cluster spec, "Hash tags").
func Slot(key []byte) uint16 {
	if open := bytes.IndexByte(key, '{'); open >= 0 {
		if n := bytes.IndexByte(key[open+1:], '}'); n > 0 {
			key = key[open+1 : open+1+n]
		}
	}
	return CRC16(key) & (Slots - 1)
}
