package api

import (
	"testing"
	"time"
)

func TestParseTime_Success(t *testing.T) {
	now := time.Unix(1_700_000_000, 999)
	f := func(text string, want int64) {
		t.Helper()
		if got, err := ParseTime(text, now); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", text, got, err, want)
		}
	}
	f("now", 1_700_000_000)
	f("0", 0)
	f("1699999999", 1_699_999_999)
	f("1699999999.9", 1_699_999_999)
	f("1.7e9", 1_700_000_000)
	f("2023-11-14T22:13:20Z", 1_700_000_000)
	f("2023-11-14T23:13:20.5+01:00", 1_700_000_000)
	f("0001-01-01T00:00:00Z", 0)
	f("-0s", 1_700_000_000)
	f("-90s", 1_699_999_910)
	f("-15m", 1_699_999_100)
	f("-1h", 1_699_996_400)
	f("now-1h", 1_699_996_400)
	f("-1d12h", 1_699_870_400)
	f("-1w", 1_699_395_200)
	f("-100000w", 0)                    // before 1970
	f("-999999999999999999w", 0)        // more seconds than an int64 holds
	f("-99999999999w99999999999w1s", 0) // and their sum
}

func TestParseTime_Failure(t *testing.T) {
	f := func(text string) {
		t.Helper()
		if got, err := ParseTime(text, time.Unix(1_700_000_000, 0)); err == nil {
			t.Errorf("%q: %d, want an error", text, got)
		}
	}
	for _, text := range []string{
		"", "-", "now-", "now+1h", "now1h", "-1", "-h", "-1h30", "-1y", "--1h", "-1.5h", "- 1h", "-1H", "+1h", "1h",
		"-99999999999999999999s", "1e400", "NaN", "Inf", "-Inf", "0x10", "1_000", "100000000000", "1700000000000",
		"2023-11-14", "2023-11-14T22:13:20", "2023-11-14T22:13:20 01:00", "yesterday", "\x00", "now\n",
	} {
		f(text)
	}
}

func FuzzParseTime(f *testing.F) {
	for _, seed := range []string{"now", "-1h", "now-1d12h", "1700000000", "1.7e9", "2023-11-14T22:13:20Z", "-9223372036854775807w", "9999-12-31T23:59:59Z"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := ParseTime(text, time.Unix(1_700_000_000, 0)); err == nil && (got < 0 || got > 1<<40) {
			t.Errorf("%q: %d", text, got)
		}
	})
}
