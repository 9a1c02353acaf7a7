package command

import (
	"math"

	"github.com/cairndb/cairn/engine"
	"github.com/cairndb/cairn/engine/types"
)

const (
	errBitOffset = "ERR bit offset is not an integer or out of range"
	errBitValue  = "ERR bit is not an integer or out of range"
	errBitType   = "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is."
)

// bitOffset parses args[i] as the offset of a bit, or answers the error. width > 0 allows #n for n times the width.
func (c *Ctx) bitOffset(i, width int) (int64, bool) {
	text := c.Args[i]
	scale := int64(1)
	if width > 0 && len(text) > 0 && text[0] == '#' {
		text, scale = text[1:], int64(width)
	}
	n, ok := types.ParseInt(text)
	if !ok || n < 0 || n > math.MaxInt64/scale || n*scale/8 >= c.maxString() {
		c.Out.Error(errBitOffset)
		return 0, false
	}
	return n * scale, true
}

func setbit(c *Ctx) {
	off, ok := c.bitOffset(2, 0)
	if !ok {
		return
	}
	bit, ok := types.ParseInt(c.Args[3])
	if !ok || bit&^1 != 0 {
		c.Out.Error(errBitValue)
		return
	}
	s, err := types.OpenString(c.Txn, c.Key(1))
	if err != nil {
		c.Fail(err)
		return
	}
	old, err := s.SetBit(off, byte(bit))
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Int(int64(old))
}

func getbit(c *Ctx) {
	off, ok := c.bitOffset(2, 0)
	if !ok {
		return
	}
	s, err := types.OpenString(c.Txn, c.Key(1))
	bit := byte(0)
	if err == nil {
		bit, err = s.Bit(off)
	}
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Int(int64(bit))
}

// bitUnit parses args[i] as BYTE or BIT, if it is there, and returns the unit's size in bits.
func (c *Ctx) bitUnit(i int) (size int64, ok bool) {
	switch {
	case i >= len(c.Args) || c.is(i, "byte"):
		return 8, true
	case c.is(i, "bit"):
		return 1, true
	}
	c.syntaxError()
	return 0, false
}

func bitcount(c *Ctx) {
	start, end, unit := int64(0), int64(-1), int64(8)
	ok := true
	switch len(c.Args) {
	case 2:
	case 4, 5:
		if start, ok = c.int(2); !ok {
			return
		}
		if end, ok = c.int(3); !ok {
			return
		}
		if unit, ok = c.bitUnit(4); !ok {
			return
		}
	default:
		c.syntaxError()
		return
	}
	s, err := types.OpenString(c.Txn, c.Key(1))
	n := int64(0)
	if err == nil {
		from, to := clampRange(start, end, s.Len()*8/unit)
		n, err = s.CountBits(from*unit, to*unit)
	}
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Int(n)
}

// bitRange is the range of BITPOS.
type bitRange struct {
	start, end, unit int64
	endGiven         bool
}

func (c *Ctx) bitRange(from int) (r bitRange, ok bool) {
	r = bitRange{end: -1, unit: 8}
	if len(c.Args) > from+3 {
		c.syntaxError()
		return r, false
	}
	if from >= len(c.Args) {
		return r, true
	}
	if r.start, ok = c.int(from); !ok {
		return r, false
	}
	if r.unit, ok = c.bitUnit(from + 2); !ok {
		return r, false
	}
	if from+1 < len(c.Args) {
		r.endGiven = true
		r.end, ok = c.int(from + 1)
	}
	return r, ok
}

// bits are the range's limits in bits, from (inclusive) to (exclusive), in a string of so many bytes.
func (r bitRange) bits(length int64) (from, to int64) {
	length = length * 8 / r.unit
	start, end := r.start, r.end
	if start < 0 {
		start = max(start+length, 0)
	}
	if end < 0 {
		end = max(end+length, 0)
	}
	end = min(end, length-1)
	if start > end {
		return 0, 0
	}
	return start * r.unit, (end + 1) * r.unit
}

func bitpos(c *Ctx) {
	bit, ok := c.int(2)
	if !ok {
		return
	}
	if bit&^1 != 0 {
		c.Out.Error("ERR The bit argument must be 1 or 0.")
		return
	}
	r, ok := c.bitRange(3)
	if !ok {
		return
	}
	s, err := types.OpenString(c.Txn, c.Key(1))
	if err != nil {
		c.Fail(err)
		return
	}
	if !s.Exists() { // an endless row of zeros
		c.Out.Int(-bit)
		return
	}
	from, to := r.bits(s.Len())
	pos, err := s.FindBit(byte(bit), from, to)
	switch {
	case err != nil:
		c.Fail(err)
	case pos < 0 && bit == 0 && from < to && !r.endGiven: // the zeros behind the end count
		c.Out.Int(to)
	default:
		c.Out.Int(pos)
	}
}

func bitop(c *Ctx) {
	var op types.BitOp
	switch {
	case c.is(1, "and"):
		op = types.And
	case c.is(1, "or"):
		op = types.Or
	case c.is(1, "xor"):
		op = types.Xor
	case c.is(1, "not"):
		op = types.Not
	default:
		c.syntaxError()
		return
	}
	if op == types.Not && len(c.Args) != 4 {
		c.Out.Error("ERR BITOP NOT must be called with a single source key.")
		return
	}
	from := make([]engine.Key, 0, len(c.Args)-3)
	for i := 3; i < len(c.Args); i++ {
		from = append(from, c.Key(i))
	}
	n, err := types.CombineBits(c.Txn, op, c.Key(2), from)
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Int(n)
}

type fieldOp uint8

const (
	fieldGet fieldOp = iota
	fieldSet
	fieldIncr
)

// fieldCommand is one subcommand of BITFIELD.
type fieldCommand struct {
	op       fieldOp
	field    types.Field
	value    int64
	overflow types.Overflow
}

func bitfield(c *Ctx)   { c.bitfield(false) }
func bitfieldRO(c *Ctx) { c.bitfield(true) }

func (c *Ctx) bitfield(onlyReads bool) {
	commands, ok := c.fieldCommands()
	if !ok {
		return
	}
	writeEnd := int64(0) // in bits
	for _, f := range commands {
		if f.op != fieldGet {
			writeEnd = max(writeEnd, f.field.Offset+int64(f.field.Bits))
		}
	}
	if onlyReads && writeEnd > 0 {
		c.Out.Error("ERR BITFIELD_RO only supports the GET subcommand")
		return
	}
	s, err := types.OpenString(c.Txn, c.Key(1))
	if err == nil && writeEnd > 0 {
		err = s.Grow((writeEnd + 7) / 8)
	}
	if err != nil {
		c.Fail(err)
		return
	}
	begin := len(c.Out.Buf)
	c.Out.Array(len(commands))
	for _, f := range commands {
		if err := c.runField(&s, f); err != nil {
			c.Out.Buf = c.Out.Buf[:begin]
			c.Fail(err)
			return
		}
	}
}

func (c *Ctx) runField(s *types.String, f fieldCommand) error {
	old, err := s.Field(f.field)
	if err != nil || f.op == fieldGet {
		c.Out.Int(old)
		return err
	}
	var value int64
	var ok bool
	reply := &old
	if f.op == fieldIncr {
		value, ok = f.field.Add(old, f.value, f.overflow)
		reply = &value
	} else {
		value, ok = f.field.Add(f.value, 0, f.overflow)
	}
	if !ok {
		c.Out.Null()
		return nil
	}
	c.Out.Int(*reply)
	return s.SetField(f.field, value)
}

// fieldCommands parses all subcommands before any is run.
func (c *Ctx) fieldCommands() (commands []fieldCommand, ok bool) {
	overflow := types.Wrap
	for i := 2; i < len(c.Args); {
		rest := len(c.Args) - i - 1
		f := fieldCommand{overflow: overflow}
		switch {
		case c.is(i, "get") && rest >= 2:
			f.op = fieldGet
		case c.is(i, "set") && rest >= 3:
			f.op = fieldSet
		case c.is(i, "incrby") && rest >= 3:
			f.op = fieldIncr
		case c.is(i, "overflow") && rest >= 1:
			if overflow, ok = c.overflow(i + 1); !ok {
				return nil, false
			}
			i += 2
			continue
		default:
			c.syntaxError()
			return nil, false
		}
		if f.field, ok = c.field(i + 1); !ok {
			return nil, false
		}
		i += 3
		if f.op != fieldGet {
			if f.value, ok = c.int(i); !ok {
				return nil, false
			}
			i++
		}
		commands = append(commands, f)
	}
	return commands, true
}

func (c *Ctx) overflow(i int) (types.Overflow, bool) {
	switch {
	case c.is(i, "wrap"):
		return types.Wrap, true
	case c.is(i, "sat"):
		return types.Saturate, true
	case c.is(i, "fail"):
		return types.Refuse, true
	}
	c.Out.Error("ERR Invalid OVERFLOW type specified")
	return 0, false
}

// field parses args[i] and args[i+1], such as u8 and #3.
func (c *Ctx) field(i int) (f types.Field, ok bool) {
	text := c.Args[i]
	limit := int64(0)
	if len(text) > 0 {
		switch text[0] {
		case 'i':
			f.Signed, limit = true, 64
		case 'u':
			limit = 63
		}
		text = text[1:]
	}
	n, ok := types.ParseInt(text)
	if !ok || n < 1 || n > limit {
		c.Out.Error(errBitType)
		return f, false
	}
	f.Bits = int(n)
	f.Offset, ok = c.bitOffset(i+1, f.Bits)
	return f, ok
}

// bitfieldKeyFlags are the key flags of a BITFIELD: it only reads when every subcommand is a GET.
func bitfieldKeyFlags(args [][]byte) []string {
	for i := 2; i < len(args); i += 3 {
		if !equalFold(args[i], "get") {
			return []string{"RW", "access", "update"}
		}
	}
	return []string{"RO", "access"}
}
