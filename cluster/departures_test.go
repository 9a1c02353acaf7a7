package cluster

import "testing"

func TestDepartures(t *testing.T) {
	t.Parallel()
	c := &Cluster{}
	if c.Departing(7) != nil {
		t.Error("nothing departs")
	}
	endBoth := c.departures.begin(set(7, 8))
	endOne := c.departures.begin(set(8, 8))
	seven, eight := c.Departing(7), c.Departing(8)
	if seven == nil || eight == nil || c.Departing(9) != nil {
		t.Fatal("slots 7 and 8 depart")
	}
	endBoth()
	<-seven
	if c.Departing(7) != nil || c.Departing(8) == nil {
		t.Error("slot 8 departs still")
	}
	<-eight // it is worth looking again
	endOne()
	if c.Departing(8) != nil {
		t.Error("nothing departs any more")
	}
}
