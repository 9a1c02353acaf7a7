package rdb

// The forms of a set: 2 is a count and strings, 11 an intset, 20 a listpack (since Redis 7.2).

// eachMember calls fn for the members; they stay valid as the payload does.
func (v *Value) eachMember(fn func(member []byte) error) error {
	r := v.reader()
	switch v.kind {
	case kindSet:
		n, err := r.count()
		if err != nil {
			return err
		}
		return eachText(&plain{&r, n}, fn)
	case kindSetListpack:
		return r.listpack(fn)
	}
	p, err := r.string()
	if err != nil {
		return err
	}
	it, err := openIntset(p)
	if err != nil {
		return err
	}
	return eachText(it, fn)
}
