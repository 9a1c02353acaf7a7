package main

import "strings"

// hllLines are the family of HyperLogLogs. GET compares their bytes.
var hllLines = []string{
	"9 PFADD <hll> <element>*",
	"4 PFADD <hll> <element>{300}",
	"1 PFADD <key> <element>",
	"4 PFCOUNT <hll>",
	"2 PFCOUNT <hll>+",
	"3 PFMERGE <hll> <hll>*",
	"5 GET <hll>",
	"2 OBJECT ENCODING <hll>",
	"1 STRLEN <hll>",
	"3 PFDEBUG (ENCODING|DECODE|TODENSE) <hll>",
	"1 PFDEBUG GETREG <hll>",
	"1 SET <hll> <nohll>",
	"1 SET <broken> <brokenhll>",
	"1 (PFCOUNT <broken>|PFCOUNT <hll> <broken>|PFMERGE <hll> <broken>|PFDEBUG (GETREG|DECODE|TODENSE) <broken>)",
	"1 DEL <hll>",
	"1 COPY <hll> <hll> REPLACE",
	"1 EXPIRE <hll> <seconds>",
}

var hllKeys = []string{"h0", "h1", "h2", "h3", "{t}h", "k0"}

// noHLLs look like HyperLogLogs, more or less.
var noHLLs = []string{
	"", "HYLL", "HYLL" + strings.Repeat("\x00", 11), "hyll\x01" + strings.Repeat("\x00", 11) + "\x7f\xff", "HYLL\x02" + strings.Repeat("\x00", 11) + "\x7f\xff",
	"HYLL" + strings.Repeat("\x00", 12), "HYLL" + strings.Repeat("\x00", 12299), "HYLL" + strings.Repeat("\x00", 12301),
	// And these are: an empty one, and one with the cardinality 7, that is not checked.
	"HYLL\x01" + strings.Repeat("\x00", 11) + "\x7f\xff", "HYLL\x01\x00\x00\x00\x07" + strings.Repeat("\x00", 7) + "\x7f\xff",
	"HYLL" + strings.Repeat("\x00", 12300),
}

// brokenHLLs are sparse ones with too few registers: with too many, Redis has written behind its memory.
var brokenHLLs = []string{
	"HYLL\x01" + strings.Repeat("\x00", 11) + strings.Repeat("\x84", 50), "HYLL\x01" + strings.Repeat("\x00", 10) + "\x80" + strings.Repeat("\x84", 50),
	"HYLL\x01" + strings.Repeat("\x00", 10) + "\x80" + strings.Repeat("\x10", 50) + "\x7b\xff",
}
