package cluster

import (
	"errors"
	"time"
)

// A node without a group decides itself what it claims, one in a group asks for grants. In between, while a group is being formed
// or has not given this node its place yet, a claim would be lost, together with the keys that were moved for it: changes of claims wait.

// TryAgain is an error that will pass; Redis sends its text after "TRYAGAIN ".
type TryAgain string

func (e TryAgain) Error() string { return string(e) }

// errDeciding: all has been waited for that will be.
const errDeciding = TryAgain("The nodes have not formed their group yet: all of them must be up and know all slots assigned")

// decidingPatience is for how long changes of claims wait. It begins with the first: if no group comes, later ones are refused at once.
const decidingPatience = 15 * time.Second

// episode is a time in which it is not known who decides.
type episode struct {
	ended chan struct{} // nil: nobody has asked
	since time.Time
}

// Undecided returns a channel that is closed when it is worth asking again who decides about slots. nil: that is known, or was
// waited for long enough.
func (c *Cluster) Undecided() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := &c.mu.deciding
	if !c.mu.table.undecided() {
		return nil
	}
	if e.ended == nil {
		*e = episode{ended: make(chan struct{}), since: time.Now()}
		ended := e.ended
		time.AfterFunc(decidingPatience, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			closeOnce(ended)
		})
	}
	if time.Since(e.since) >= decidingPatience {
		return nil
	}
	return e.ended
}

// endDeciding lets go who waits, if it is known who decides. The caller holds mu.
func (c *Cluster) endDeciding() {
	if e := &c.mu.deciding; e.ended != nil && !c.mu.table.undecided() {
		closeOnce(e.ended)
		*e = episode{}
	}
}

// decide makes a change of claims: alone while there is no group, else by a grant. alone fails with errPledged when it comes too late.
func (c *Cluster) decide(alone, grant func() error) error {
	for {
		for ch := c.Undecided(); ch != nil; ch = c.Undecided() {
			select {
			case <-ch:
			case <-c.patient.Done():
				return c.patient.Err()
			}
		}
		if c.Formed() {
			return grant()
		}
		err := alone()
		if !errors.Is(err, errPledged) {
			return err
		}
		if c.Undecided() == nil && !c.Formed() {
			return errDeciding
		}
	}
}

var errPledged = errors.New("the group adopts the claims")

// unpledged is a change that a node makes only as long as it decides itself.
func unpledged(fn func(t *table, now int64) error) func(t *table, now int64) error {
	return func(t *table, now int64) error {
		if t.formed() || t.me().Pledged {
			return errPledged
		}
		return fn(t, now)
	}
}
