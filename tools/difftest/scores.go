package main

import (
	"strconv"

	"github.com/cairndb/cairn/server/resp"
	"github.com/cairndb/cairn/tools/wire"
)

// sameScores compares replies with numbers in them, which Redis 7.0 prints with 17 digits and 7.2 with as few as tell them.
func sameScores(_ []string, redis, cairn wire.Value) bool {
	if len(redis.Elems) != len(cairn.Elems) || redis.Kind != cairn.Kind || redis.Null != cairn.Null {
		return false
	}
	for i := range redis.Elems {
		if !sameScores(nil, redis.Elems[i], cairn.Elems[i]) {
			return false
		}
	}
	if redis.Text == cairn.Text {
		return true
	}
	f, err := strconv.ParseFloat(cairn.Text, 64)
	return err == nil && redis.Text == strconv.FormatFloat(f, 'g', 17, 64) && cairn.Text == string(resp.AppendDouble(nil, f))
}

// sameZScan is for ZSCAN, whose scores are printed in several ways.
func sameZScan(args []string, redis, cairn wire.Value) bool {
	for _, v := range []wire.Value{redis, cairn} {
		if len(v.Elems) == 2 {
			for i := 1; i < len(v.Elems[1].Elems); i += 2 {
				text := &v.Elems[1].Elems[i].Text
				f, err := strconv.ParseFloat(*text, 64)
				if err != nil {
					return false
				}
				*text = strconv.FormatFloat(f, 'g', -1, 64)
			}
		}
	}
	return sameCollectionScan(2)(args, redis, cairn)
}
