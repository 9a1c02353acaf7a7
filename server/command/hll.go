package command

import (
	"math/rand/v2"

	"github.com/cairndb/cairn/engine/types"
	"github.com/cairndb/cairn/server/resp"
)

func pfadd(c *Ctx) {
	h, err := types.OpenHLL(c.Txn, c.Key(1))
	changed := false
	if err == nil {
		changed, err = h.Add(c.Args[2:])
	}
	if err != nil {
		c.Fail(err)
		return
	}
	c.bool01(changed)
}

func pfcount(c *Ctx) {
	if len(c.Args) == 2 {
		h, err := types.OpenHLL(c.Txn, c.Key(1))
		var n uint64
		if err == nil {
			n, err = h.Count()
		}
		if err != nil {
			c.Fail(err)
			return
		}
		c.Out.Int(int64(n))
		return
	}
	union, err := c.hllUnion()
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Int(int64(union.Count()))
}

// hllUnion is the union of the HyperLogLogs at all arguments.
func (c *Ctx) hllUnion() (*types.HLLUnion, error) {
	union := new(types.HLLUnion)
	for i := 1; i < len(c.Args); i++ {
		h, err := types.OpenHLL(c.Txn, c.Key(i))
		if err == nil && h.Exists() {
			err = union.Add(&h)
		}
		if err != nil {
			return nil, err
		}
	}
	return union, nil
}

func pfmerge(c *Ctx) {
	union, err := c.hllUnion()
	if err != nil {
		c.Fail(err)
		return
	}
	h, err := types.OpenHLL(c.Txn, c.Key(1))
	if err == nil {
		err = h.Merge(union)
	}
	c.done(err)
}

func pfdebug(c *Ctx) {
	h, err := types.OpenHLL(c.Txn, c.Key(2))
	switch {
	case err != nil:
		c.Fail(err)
		return
	case !h.Exists():
		c.Out.Error("ERR The specified key does not exist")
		return
	}
	run := map[string]func(*Ctx, *types.HLL) error{"getreg": pfdebugGetreg, "decode": pfdebugDecode, "encoding": pfdebugEncoding, "todense": pfdebugTodense}
	for name, sub := range run {
		if !c.is(1, name) {
			continue
		}
		err := h.Touch()
		if err == nil {
			err = sub(c, &h)
		}
		if err != nil {
			c.Fail(err)
		}
		return
	}
	c.Out.Error("ERR Unknown PFDEBUG subcommand '" + string(resp.CString(c.Args[1])) + "'")
}

func pfdebugGetreg(c *Ctx, h *types.HLL) error {
	if _, err := h.ToDense(); err != nil {
		return err
	}
	c.Out.Array(types.HLLRegisters)
	h.Registers(func(value uint8) { c.Out.Int(int64(value)) })
	return nil
}

func pfdebugDecode(c *Ctx, h *types.HLL) error {
	if h.Dense() {
		c.Out.Error("ERR HLL encoding is not sparse")
		return nil
	}
	c.Out.Bulk(h.Runs())
	return nil
}

func pfdebugEncoding(c *Ctx, h *types.HLL) error {
	if h.Dense() {
		c.Out.Simple("dense")
	} else {
		c.Out.Simple("sparse")
	}
	return nil
}

func pfdebugTodense(c *Ctx, h *types.HLL) error {
	changed, err := h.ToDense()
	if err == nil {
		c.bool01(changed)
	}
	return err
}

func pfselftest(c *Ctx) {
	if err := types.HLLSelfTest(rand.Uint64()); err != nil {
		c.Out.Error("ERR " + err.Error())
		return
	}
	c.Out.OK()
}
