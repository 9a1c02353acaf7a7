package config

import "testing"

func TestDefaultsParse(t *testing.T) {
	t.Parallel()
	c := Default()
	if c.Port() != 6379 || c.ClientOutputLimit(ClassPubSub).Hard != 32<<20 || len(c.Bind()) != 2 {
		t.Fatalf("port %d, limits %v, bind %v", c.Port(), c.ClientOutputLimit(ClassPubSub), c.Bind())
	}
}
