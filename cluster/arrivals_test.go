package cluster

import (
	"testing"
	"time"

	"github.com/cairndb/cairn/tools/poll"
)

func TestArrivals(t *testing.T) {
	t.Parallel()
	c := new(Cluster)
	if c.Arriving(7) != nil {
		t.Error("a slot that nobody expects arrives")
	}
	arrived := c.arrivals.expect(7)
	ch := c.Arriving(7)
	if ch == nil || c.Arriving(8) != nil {
		t.Fatal("the wrong slot arrives")
	}
	c.arrivals.expect(7)() // a second request for the same slot
	if c.Arriving(7) != ch {
		t.Error("the first is not waited for any more")
	}
	arrived()
	arrived()
	<-ch
	if c.Arriving(7) != nil {
		t.Error("it is still waited for")
	}
	late := c.arrivals.expect(9)
	defer late()
	waiting := c.Arriving(9)
	poll.Within(t, "patience ends", arrivalPatience+10*time.Second, func() bool {
		select {
		case <-waiting:
			return c.Arriving(9) == nil
		default:
			return false
		}
	})
}
