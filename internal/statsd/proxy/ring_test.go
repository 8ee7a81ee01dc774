package proxy

import (
	"fmt"
	"testing"
)

func ringOf(ports ...int) *ring {
	var identities []string
	for _, port := range ports {
		identities = append(identities, fmt.Sprintf("127.0.0.1:%d", port))
	}
	return newRing(identities, ports)
}

// The vectors of section 7 of the specification.
func TestPlacement(t *testing.T) {
	whole, rest := ringOf(8127, 8129, 8131), ringOf(8127, 8131)
	for _, c := range []struct {
		key          string
		owner, after int // after: when 8129 has gone
	}{
		{"gorets", 8127, 8127}, {"glork", 8129, 8131}, {"gaugor", 8129, 8131}, {"uniques", 8131, 8131},
		{"app.requests", 8131, 8131}, {"foo;env=prod", 8127, 8127}, {"statsd.x", 8129, 8127}, {"a", 8127, 8127},
	} {
		if got, ok := whole.owner([]byte(c.key)); !ok || got != c.owner {
			t.Errorf("%s is at %d, want %d", c.key, got, c.owner)
		}
		if got, ok := rest.owner([]byte(c.key)); !ok || got != c.after {
			t.Errorf("without 8129 %s is at %d, want %d", c.key, got, c.after)
		}
	}
	if _, ok := ringOf().owner([]byte("a")); ok {
		t.Error("a ring without nodes has an owner")
	}
}

func TestPointsPerNode(t *testing.T) {
	for nodes := 1; nodes <= 12; nodes++ {
		var ports []int
		for i := range nodes {
			ports = append(ports, 8127+i)
		}
		want := 40
		if nodes == 7 {
			want = 39 // rounding
		}
		if got := len(ringOf(ports...).points); got != want*nodes {
			t.Errorf("%d nodes have %d points, want %d each", nodes, got, want)
		}
	}
}

func TestKeyOf(t *testing.T) {
	for line, want := range map[string]string{"a:1|c": "a", "a:1|c|#x:y": "a", "a;b=c:1|c": "a;b=c", "a|c": "a|c", ":1|c": "", "a b/c:1": "a b/c"} {
		if got := string(keyOf([]byte(line))); got != want {
			t.Errorf("key of %q is %q, want %q", line, got, want)
		}
	}
}
