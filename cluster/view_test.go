package cluster

import "testing"

func TestViewDoesNotAllocate(t *testing.T) {
	v := exampleTable().view()
	n := testing.AllocsPerRun(100, func() {
		if !v.Owns(9) || v.Owner(7).Endpoint() == "" || v.Migrating(5) == nil || !v.Importing(6) || v.Owner(10000) != nil {
			t.Error("wrong answers")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestStandalone(t *testing.T) {
	t.Parallel()
	v := Standalone()
	if v.Enabled() || !v.Up() || !v.Owns(0) || !v.Owns(16383) || v.Importing(1) || v.Migrating(1) != nil {
		t.Errorf("%+v", v.Self())
	}
}

func BenchmarkView(b *testing.B) {
	v := exampleTable().view()
	for b.Loop() {
		if !v.Up() && !v.Owns(9) {
			b.Fatal("wrong answer")
		}
	}
}
