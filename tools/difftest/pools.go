package main

import "strings"

// keyPools are those of names of keys.
var keyPools = []string{"key", "counter", "short", "hash", "set", "geo", "hll", "broken", "list", "zset", "zetset", "lexset", "stream", "copied", "sortable"}

// pools are drawn from as they are.
var pools = map[string][]string{
	"key": {
		"k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7", "{t}a", "{t}b", "x{t}c", "{}e", "", "bin\x00\xff\r\n", strings.Repeat("long", 100),
	},
	"sortable": {"l0", "l1", "l2", "{t}l"},
	"sortby":   {"k*", "s*", "h*->f0", "c*", "#", "nope*x", "*"},
	"sortget":  {"#", "k*", "h*->f0", "s*", "h*->", "nope", "*->f1"},
	"awaited":  {"w0", "w1", "{t}w"},
	"counter":  {"c0", "c1", "c2", "{t}c", "k0"},
	"short":    {"s0", "s1", "s2"},
	"hash":     {"h0", "h1", "h2", "{t}h", "h\x00\xff"},
	"field": {
		"f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7", "", "bin\x00\xff\r\n", strings.Repeat("f", 65), "n0",
	},
	"numfield":  {"n0", "n1", "n2", "f0"},
	"fieldglob": {"*", "f*", "f?", "f[0-3]", "", "[^f]*", "bin*", "nothing", "n0"},
	"set":       {"s:0", "s:1", "s:2", "{t}s", "s\x00\xff"},
	"setmember": {
		"0", "1", "2", "3", "4", "5", "-1", "300", "70000", "-5000000000", "9223372036854775807", "-9223372036854775808", "9223372036854775808",
		"a", "b", "c", "d", "", "007", "-0", "1.5", "bin\x00\xff\r\n", strings.Repeat("m", 20), strings.Repeat("m", 65),
	},
	"geo":       {"g0", "g1", "g2", "{t}g"},
	"placename": {"p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "p9", "Palermo", "Catania", "", "p\x00\xff"},
	"unit":      {"m", "km", "ft", "mi", "km", "KM", "Mi", "km", "x", ""},
	"setglob":   {"*", "m*", "?", "[0-3]", "", "[^m]*", "-*", "nothing", "70000"},
	"few": {
		"0", "1", "2", "3", "10", "100", "-1", "-3", "-10", "9223372036854775807", "4611686018427387904", "-9223372036854775808", "9223372036854775808", "abc", "", "1.5",
	},
	"word":      {"ohmytext", "mynewtext", "a", "ab", "hello", "foobar", "OK", "ünïcödé", "b\x00b", "QUEUED", "nil"},
	"bit":       {"0", "1", "0", "1", "0", "1", "2", "-1", "", "a"},
	"small":     {"0", "1", "255", "256", "-1", "x"},
	"db":        {"0", "1", "2", "3", "0", "1", "2", "15", "16", "-1", "abc", "99999999999999999999"},
	"bigid":     {"99999999", "123456789012", "9223372036854775807"},
	"cursor":    {"0", "abc", "-1", "18446744073709551616", "", "0x0", " 0"},
	"glob":      globs,
	"hll":       hllKeys,
	"broken":    {"hb"},
	"nohll":     noHLLs,
	"brokenhll": brokenHLLs,
	"list":      {"l0", "l1", "l2", "l3", "{t}l", "l0", "l1"},
	"popcount":  {"1", "2", "3", "10", "0", "200", "-1", "9223372036854775807", "9223372036854775808", "abc", ""},
	"numkeys":   {"1", "2", "1", "2", "3", "0", "-1", "100", "abc", ""},
	// edge stands for anything where something else belongs. It holds no small
	// positive number, so that it never makes a short expiry.
	"edge": {
		"", "abc", "0x10", "-1", "-9223372036854775808", "9223372036854775808", "99999999999999999999", "1e400", "nan", " ", "\x00", "*",
		"NX", "xx", "get", "ex", "KEEPTTL", "help", "reply", strings.Repeat("z", 200), "it's", "a\r\nb",
	},
	"subcommand": subcommandNames,
	"zset":       {"z0", "z1", "z2", "{t}z", "z\x00\xff"},
	"zetset":     {"set0", "set1", "z0"},
	// lexset holds members of one score only: other ranges by members are not specified.
	"lexset": {"lex0", "lex1", "lex2"},
	"member": {
		"m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "m9", "", "10", "-1", "bin\x00\xff\r\n", strings.Repeat("m", 64), strings.Repeat("m", 65), strings.Repeat("m", 300),
	},
	"limit": {
		"0", "1", "2", "3", "10", "100", "-1", "-3", "-10", "9223372036854775807", "4611686018427387904", "-9223372036854775808", "9223372036854775808", "abc", "", "1.5",
	},
	"memberglob": {"*", "m*", "m?", "m[0-3]", "", "[^m]*", "bin*", "nothing"},
	"lexlimit":   {"-", "+", "-", "+", "[m1", "(m1", "[m3", "(m5", "[m9", "[", "(", "[mmm", "(mmm", "[bin", "[zz", "", "m1", "-m", "+m", "-\x00m", "[m3\x00"},
}

var globs = []string{"*", "k*", "k?", "k[0-3]", "k[^0-3]", "{t}*", "", "[a-", "\\k0", "k\\", "**", "*\x00*", "[^]", "[]k]0", "K*", "?", "nothing", "k[3-0]", "[[]"}

var values = []string{
	"", "a", "0", "-1", "1", "hello world", "3.14", "12345678901", " 1", "1 ", "01", "-0", "+1", "\x00", "\xff\xfe\xfd",
	"9223372036854775807", "-9223372036854775808", "9223372036854775808",
	strings.Repeat("e", 44), strings.Repeat("e", 45), strings.Repeat("r", 300), "foobar", "\r\n",
}

var items = []string{"a", "b", "c", "d", "1", "2", "-5000", "01", "hello world", "", strings.Repeat("e", 64)}

var ints = []string{
	"0", "1", "-1", "2", "10", "127", "128", "255", "256", "32767", "2147483647", "2147483648", "-2147483648", "4294967296", "9007199254740993",
	"9223372036854775807", "-9223372036854775808", "9223372036854775808", "-9223372036854775809", "18446744073709551615",
	"+1", " 1", "1 ", "01", "-0", "-", "+", "1e3", "0x10", "", "abc", "99999999999999999999999", "1.0", "1\x00",
}

var floats = []string{
	"0", "-0", "0.1", "0.2", "-0.1", "1.0", "3.0e3", "1e21", "1e-7", "123456789.123456789", "1e308", "-1e308", "1.7976931348623157e308", "1e-400", "1e5000",
	"5e-324", "inf", "-inf", "+inf", "infinity", "nan", "NaN", "-nan", "0x1p3", "0x10", " 1.5", "1.5 ", "", "abc", "1..5", "1e", ".5", "5.", "+1.5", "1,5",
	"9007199254740993", "9223372036854775807", "0.000000000000000001", "100000000000000000000",
}

// scoreLimits are the ends of ranges of scores.
var scoreLimits = []string{
	"-inf", "+inf", "inf", "(inf", "(-inf", "0", "-0", "(0", "(-0", "1", "(1", "(-1", "", "(", " 1", "1 ", "( 1", "nan", "1e400", "-1e400", "1e-400", "1\x00x", "abc", "(abc", "((1", "0x1p3", "1.5", "infinity",
}

var indexes = []string{
	"0", "-1", "1", "-2", "100", "-100", "16383", "16384", "-16385", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "", "abc", "1.5", " 1",
}

// offsets stay small or are refused: a legal large one would make both servers allocate half a gigabyte.
var offsets = []string{"0", "1", "100", "16383", "16384", "16385", "33000", "-1", "536870912", "9223372036854775807", "4294967296000", "", "abc", "1.5"}

var bitOffsets = []string{"0", "7", "8", "131071", "131072", "131073", "300000", "-1", "4294967296", "9223372036854775807", "", "abc", "1.5"}

var bitTypes = []string{"u8", "i8", "u63", "i64", "u1", "i1", "u64", "i65", "u0", "i0", "u", "i", "x8", "", "8", "u-1", "U8", "I8", "i16", "u32"}

var bitPositions = []string{"0", "#0", "#1", "131064", "131070", "#2048", "-1", "#-1", "4294967296", "#999999999999", "abc", "#", "", "9223372036854775807", "#9223372036854775807"}

// times are expiries whose effect is the same at any moment: past, refused, or beyond any clock.
var times = []string{
	"0", "-1", "-1000", "-9223372036854775808", "-9223372036854775809", "9223372036854775807", "9223372036854775808", "9223372036854775", "9223372036854776", "", "abc", "1.5", "1e5", " 100000",
}

var bigLengths = []int{2048, 16382, 16384, 16386, 32768, 40000}

// rawRequests are sent as bytes: inline commands and broken frames.
var rawRequests = []string{
	"PING\r\n", "ping\n", "  PING  hello  \r\n", "SET raw 'a b'\r\nGET raw\r\n", "SET raw \"a\\x00\\n\\\"b\"\r\nGET raw\r\n",
	"SET raw \"unbalanced\r\n", "SET raw 'a'b\r\n", "\r\n\r\nPING\r\n", "GET\r\n", "nosuch a b c\r\n",
	"*0\r\nPING\r\n", "*-1\r\nPING\r\n", "*1\r\n$4\r\nPING\r\n", "*abc\r\n", "*1\r\n$abc\r\n", "*1\r\n:4\r\n", "*1\r\n$-1\r\n", "*1\r\n$536870913\r\n",
	"*2000000000\r\n", "*1048577\r\n", "*99999999999999999999\r\n", "*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", "*\r\n", "*1\r\n$\r\n", "*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n",
	"*2\r\n$3\r\nGET\r\n*1\r\n$1\r\na\r\n", "*1\r\n$0\r\n\r\n", "*2\r\n$0\r\n\r\n$1\r\na\r\n", "*+1\r\n$4\r\nPING\r\n", "* 1\r\n$4\r\nPING\r\n", "*01\r\n$4\r\nPING\r\n",
	"PING\r\nPING\r\nQUIT\r\nPING\r\n", "*1\r\n$4\r\nQUIT\r\n*1\r\n$4\r\nPING\r\n", "MULTI\r\nSET raw 1\r\nGET raw extra\r\nEXEC\r\n", "MULTI\r\nSET raw 1\r\nINCR raw\r\nEXEC\r\n",
	"HELLO 9\r\nPING\r\n", "POST / HTTP/1.1\r\n", "Host: x\r\n", "\x00\x01\x02\r\n", "QUIT now\r\n",
	"*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n*1\r\n$5\r\nRESET\r\n*1\r\n$6\r\nDBSIZE\r\n",
}

// silentBursts end with the only command that answers; words are separated by spaces, commands by semicolons.
var silentBursts = []string{
	"CLIENT REPLY SKIP;PING;PING last",
	"CLIENT REPLY OFF;PING;SET k0 silent;CLIENT REPLY ON",
	"CLIENT REPLY SKIP;NOSUCH;GET k0",
	"CLIENT REPLY OFF;CLIENT REPLY SKIP;GET k0;CLIENT REPLY ON",
	"CLIENT REPLY SKIP;CLIENT REPLY SKIP;GET k0;GET k1",
}

var lons = []string{
	"13.361389", "15.087269", "2.3522", "-122.4194", "0", "180", "-180", "179.99999", "-179.99999", "180.1", "1e2", "nan", "inf", "-inf", "abc", "", "0x10", "-0",
}

var lats = []string{
	"38.115556", "37.502669", "48.8566", "37.7749", "0", "85.05112878", "-85.05112878", "85.06", "66.1", "-80.5", "80.5", "1e1", "nan", "inf", "abc", "", "-0",
}

var radii = []string{"0", "1", "100", "200.5", "1000", "5000", "20000", "30000", "1e9", "0.001", "-1", "inf", "nan", "abc", "", "1e308"}
