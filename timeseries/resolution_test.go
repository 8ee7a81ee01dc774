package timeseries

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseResolution(t *testing.T) {
	for _, text := range []string{"", "raw", "1m", "1h", "1d"} {
		if r, err := ParseResolution(text); err != nil || string(r) != text {
			t.Errorf("%q: %q, %v", text, r, err)
		}
	}
	const want = `cannot use resolution "5m": want raw, 1m, 1h or 1d`
	if r, err := ParseResolution("5m"); err == nil || err.Error() != want || r != AnyResolution {
		t.Errorf("5m: %q, %v", r, err)
	}
}

// Points are as long as the slots that are asked for, or several of them.
func TestResolutionGrid(t *testing.T) {
	f := func(r Resolution, step, start, end int64, points int, want Grid) {
		t.Helper()
		o := options(points)
		o.Resolution, want.Resolution, want.RawStep = r, r, step
		if diff := cmp.Diff(want, NewGrid(&Schema{Step: step}, start, end, o)); diff != "" {
			t.Errorf("%s: step %d, %d to %d: %s", r, step, start, end, diff)
		}
	}
	f(Raw, 300, 0, 7200, 80, Grid{Step: 300, Count: 24, End: 7200})
	f(ByMinute, 10, 0, 600, 80, Grid{Step: 60, Count: 10, End: 600})
	f(ByMinute, 10, 0, 600, 4, Grid{Step: 180, Count: 4, End: 600})  // three minutes, and one that has not passed yet
	f(ByMinute, 45, 0, 900, 80, Grid{Step: 45, Count: 20, End: 900}) // there are no such slots
	f(ByHour, 300, 3600, 10800, 80, Grid{Start: 3600, Step: 3600, Count: 2, End: 10800})
	f(ByHour, 3600, 3600, 10800, 80, Grid{Start: 3600, Step: 3600, Count: 2, End: 10800})
	f(ByHour, 86_400, 0, 172_800, 80, Grid{Step: 86_400, Count: 2, End: 172_800})
	f(ByDay, 300, 3600, 3600, 80, Grid{Step: 86_400})
	f(ByDay, 300, 3600, 90_000, 80, Grid{Step: 86_400, Count: 2, End: 90_000})
}
