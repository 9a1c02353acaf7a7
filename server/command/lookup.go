package command

import (
	"bytes"

	"github.com/cairndb/cairn/engine/types"
)

// maxName bounds the names that Lookup folds to lower case: no command's is longer.
const maxName = 32

// Lookup finds a command by its name in any letter case; for a container command with args[1] it finds the subcommand.
// container is the row that args[0] names, also when its subcommand is unknown: then cmd is nil.
// It does not allocate.
func Lookup(args [][]byte) (cmd *Command, container *Command) {
	if len(args) == 0 {
		return nil, nil
	}
	cmd = find(table, args[0])
	if cmd == nil || cmd.subs == nil || len(args) == 1 {
		return cmd, nil
	}
	return find(cmd.subs, args[1]), cmd
}

func find(in map[string]*Command, name []byte) *Command {
	var buf [maxName]byte
	if len(name) > maxName {
		return nil
	}
	for i, b := range name {
		if b >= 'A' && b <= 'Z' {
			b |= 0x20
		}
		buf[i] = b
	}
	return in[string(buf[:len(name)])] // the compiler does not allocate for this conversion
}

// ArityOK says whether a request of n arguments, the name included, suits the command.
func (c *Command) ArityOK(n int) bool {
	return n == c.Arity || (c.Arity < 0 && n >= -c.Arity)
}

// KeysOf appends the indexes of args that are keys.
func (c *Command) KeysOf(dst []int, args [][]byte) ([]int, error) {
	if c.GetKeys != nil {
		idx, err := c.GetKeys(args)
		return append(dst, idx...), err
	}
	for i := range c.Keys {
		var err error
		if dst, err = c.Keys[i].find(dst, args); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// find appends the indexes that one key specification selects (Redis: getKeysUsingKeySpecs).
func (k *KeySpec) find(dst []int, args [][]byte) ([]int, error) {
	first := k.begin(args)
	if first <= 0 || first >= len(args) {
		return dst, nil
	}
	if k.ByKeyNum {
		return k.findByCount(dst, args, first)
	}
	last, step := first+k.LastKey, max(k.Step, 1)
	if k.LastKey < 0 {
		last = len(args) + k.LastKey
		if k.LastKey == -1 && k.Limit > 1 {
			last = first + (len(args)-first)/k.Limit + k.LastKey
		}
	}
	if last >= len(args) {
		return dst, errBadKeys
	}
	for i := first; i <= last; i += step {
		dst = append(dst, i)
	}
	return dst, nil
}

func (k *KeySpec) findByCount(dst []int, args [][]byte, first int) ([]int, error) {
	at := first + k.KeyNumIdx
	if at >= len(args) {
		return dst, errBadKeys
	}
	n, ok := types.ParseInt(args[at])
	first, step := first+k.FirstKey, max(k.Step, 1)
	if !ok || n < 0 || n > int64(len(args)) || first+(int(n)-1)*step >= len(args) {
		return dst, errBadKeys
	}
	for i := range int(n) {
		dst = append(dst, first+i*step)
	}
	return dst, nil
}

// begin is the index at which the specification starts, or 0.
func (k *KeySpec) begin(args [][]byte) int {
	if k.BeginKeyword == "" {
		return k.BeginIndex
	}
	start, end, step := k.StartFrom, len(args)-1, 1
	if start < 0 {
		start, end, step = len(args)+start, 0, -1
	}
	for i := start; i > 0 && i != end+step && i < len(args); i += step {
		if bytes.EqualFold(args[i], []byte(k.BeginKeyword)) {
			return i + 1
		}
	}
	return 0
}
