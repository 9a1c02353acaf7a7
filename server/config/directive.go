package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Kind says how a directive's value is written and checked.
type Kind uint8

// The kinds of values.
const (
	Bool   Kind = iota // yes or no
	Int                // a decimal integer within bounds
	Octal              // file permissions
	Memory             // bytes, with an optional unit: 1k = 1000, 1kb = 1024, …
	Enum               // one of a list of words
	String             // any text
	List               // several words with a grammar of their own
)

// Flags are a directive's properties.
type Flags uint8

const (
	// Hot directives can be changed by CONFIG SET; the others only at start.
	Hot Flags = 1 << iota
	// Ignored directives are accepted and kept, and change nothing here.
	Ignored
	// Own directives are Cairn's, not Redis's.
	Own
	// Protected directives need enable-protected-configs.
	Protected
	// Percent lets a memory value be a percentage, kept as a negative number.
	Percent
	// Whole values of a List are not divided into words.
	Whole
	// Volatile directives name something outside that may have changed: setting the present value again applies it.
	Volatile
)

// Directive is one row of the table.
type Directive struct {
	Name, Alias string
	Kind        Kind
	Flags       Flags
	Default     string
	Min, Max    int64    // of Int, Octal and Memory
	Words       []string // of Enum

	// list parses the words of a List; old is the present value, which some directives change in part.
	list func(args []string, old value) (value, error)
	// check refuses values that are well-formed and not acceptable.
	check func(v value) error
}

// value is a parsed value: text is what CONFIG GET shows, num what numbers, booleans (0 or 1) and enums
// (index of the word) mean, and data what a List means.
type value struct {
	text string
	num  int64
	data any
}

const (
	maxInt  = math.MaxInt32
	maxLong = math.MaxInt64
)

func boolean(name, def string, f Flags) *Directive {
	return &Directive{Name: name, Kind: Bool, Default: def, Flags: f}
}

func number(name, def string, lo, hi int64, f Flags) *Directive {
	return &Directive{Name: name, Kind: Int, Default: def, Min: lo, Max: hi, Flags: f}
}

func memory(name, def string, lo, hi int64, f Flags) *Directive {
	return &Directive{Name: name, Kind: Memory, Default: def, Min: lo, Max: hi, Flags: f}
}

func text(name, def string, f Flags) *Directive {
	return &Directive{Name: name, Kind: String, Default: def, Flags: f}
}

func choice(name, def, words string, f Flags) *Directive {
	return &Directive{Name: name, Kind: Enum, Default: def, Words: strings.Fields(words), Flags: f}
}

func list(name, def string, parse func([]string, value) (value, error), f Flags) *Directive {
	return &Directive{Name: name, Kind: List, Default: def, list: parse, Flags: f}
}

func (d *Directive) alias(name string) *Directive {
	d.Alias = name
	return d
}

func (d *Directive) checked(fn func(value) error) *Directive {
	d.check = fn
	return d
}

// parse turns the words behind the name into a value; the errors are Redis's texts.
func (d *Directive) parse(args []string, old value) (value, error) {
	v, err := d.parseKind(args, old)
	if err == nil && d.check != nil {
		err = d.check(v)
	}
	return v, err
}

func (d *Directive) parseKind(args []string, old value) (value, error) {
	if d.Kind == List {
		return d.list(args, old)
	}
	if len(args) != 1 {
		return value{}, errArgs
	}
	s := args[0]
	switch d.Kind {
	case Bool:
		return parseBool(s)
	case Int:
		n, ok := parseInt(s)
		if !ok {
			return value{}, errors.New("argument couldn't be parsed into an integer")
		}
		return d.bounded(n)
	case Octal:
		n, err := strconv.ParseInt(s, 8, 64)
		if err != nil {
			return value{}, errors.New("argument couldn't be parsed as an octal number")
		}
		return d.bounded(n)
	case Memory:
		return d.parseMemory(s)
	case Enum:
		return d.parseEnum(s)
	default:
		if strings.ContainsAny(s, "\x00") {
			return value{}, errors.New("argument must not contain a zero byte")
		}
		return value{text: s}, nil
	}
}

var errArgs = errors.New("wrong number of arguments")

func parseBool(s string) (value, error) {
	switch strings.ToLower(s) {
	case "yes":
		return value{text: "yes", num: 1}, nil
	case "no":
		return value{text: "no"}, nil
	}
	return value{}, errors.New("argument must be 'yes' or 'no'")
}

func (d *Directive) parseEnum(s string) (value, error) {
	i := slices.Index(d.Words, strings.ToLower(s))
	if i < 0 {
		return value{}, errors.New("argument(s) must be one of the following: " + strings.Join(d.Words, ", "))
	}
	return value{text: d.Words[i], num: int64(i)}, nil
}

func (d *Directive) parseMemory(s string) (value, error) {
	if p, ok := strings.CutSuffix(s, "%"); ok && d.Flags&Percent != 0 {
		if n, ok := parseInt(p); ok && n >= 0 {
			if n > 100 {
				return value{}, errors.New("percentage argument must be less or equal to 100")
			}
			v, err := d.bounded(-n)
			v.text = p + "%"
			return v, err
		}
	}
	n, ok := parseSize(s)
	if ok && n > math.MaxInt64 {
		return value{}, d.outside()
	}
	if !ok && d.Flags&Percent != 0 {
		return value{}, errors.New("argument must be a memory or percent value")
	}
	if !ok {
		return value{}, errors.New("argument must be a memory value")
	}
	return d.bounded(int64(n))
}

func (d *Directive) bounded(n int64) (value, error) {
	if n < d.Min || n > d.Max {
		return value{}, d.outside()
	}
	base := 10
	if d.Kind == Octal {
		base = 8
	}
	return value{text: strconv.FormatInt(n, base), num: n}, nil
}

func (d *Directive) outside() error {
	if d.Kind == Octal {
		return fmt.Errorf("argument must be between %o and %o inclusive", d.Min, d.Max)
	}
	return fmt.Errorf("argument must be between %d and %d inclusive", d.Min, d.Max)
}

// parseInt accepts what Redis's string2ll does: no spaces, plus signs or leading zeros.
func parseInt(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && strconv.FormatInt(n, 10) == s
}

// parseSize reads a byte count with an optional unit (k, kb, m, mb, g, gb, b; any letter case), as redis.conf writes
// them. No digits mean 0, as in Redis.
func parseSize(s string) (uint64, bool) {
	digits := strings.TrimRight(s, "bBkKmMgG")
	mul, ok := units[strings.ToLower(s[len(digits):])]
	if !ok {
		return 0, false
	}
	if digits == "" {
		return 0, true
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n > math.MaxUint64/mul {
		return 0, false
	}
	return n * mul, true
}

var units = map[string]uint64{
	"": 1, "b": 1,
	"k": 1000, "kb": 1 << 10,
	"m": 1000 * 1000, "mb": 1 << 20,
	"g": 1000 * 1000 * 1000, "gb": 1 << 30,
}
