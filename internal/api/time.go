package api

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

var errTime = errors.New("want Unix seconds, RFC 3339 such as 2025-01-31T12:00:00Z, now, or a time before now such as -1h or -1d12h (units s, m, h, d, w)")

// latestTime is where Unix seconds end and milliseconds begin (the year 5138).
const latestTime = 1e11

// ParseTime reads a time in Unix seconds: as such, in RFC 3339, or relative to
// now ("now", "-1h", "now-1h30m"). What lies before 1970 is 1970.
func ParseTime(text string, now time.Time) (int64, error) {
	back, relative := strings.CutPrefix(text, "now")
	if relative && back == "" {
		return now.Unix(), nil
	}
	if length, ok := strings.CutPrefix(back, "-"); ok {
		seconds, err := parseLength(length)
		if err != nil {
			return 0, err
		}
		return max(0, now.Unix()-seconds), nil
	}
	if relative {
		return 0, errTime
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return max(0, t.Unix()), nil
	}
	seconds, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil || math.IsNaN(seconds) || strings.ContainsAny(text, "xX_"):
		if strings.Contains(text, "T") && strings.Contains(text, " ") {
			return 0, errors.New("a + in a URL is a space: write it as %2B")
		}
		return 0, errTime
	case seconds >= latestTime:
		return 0, errors.New("it is too large for seconds since 1970; are these milliseconds?")
	}
	return int64(seconds), nil
}

// parseLength reads "1d12h" as seconds.
func parseLength(text string) (int64, error) {
	if text == "" {
		return 0, errTime
	}
	total := int64(0)
	for text != "" {
		digits := 0
		for digits < len(text) && text[digits] >= '0' && text[digits] <= '9' {
			digits++
		}
		n, err := strconv.ParseInt(text[:digits], 10, 64)
		if err == nil && digits == len(text) {
			return 0, errors.New("a time before now needs a unit (s, m, h, d, w): -60s")
		}
		if err != nil {
			return 0, errTime
		}
		unit := int64(0)
		switch text[digits] {
		case 's':
			unit = 1
		case 'm':
			unit = 60
		case 'h':
			unit = 3600
		case 'd':
			unit = 86400
		case 'w':
			unit = 7 * 86400
		default:
			return 0, errTime
		}
		n = min(n, latestTime) // further back than any time there is
		total = min(total+n*unit, latestTime)
		text = text[digits+1:]
	}
	return total, nil
}
