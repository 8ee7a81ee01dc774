package timeseries

import (
	"fmt"
	"slices"
)

// Resolution is one of those in which a driver keeps series: the points, or slots of some
// length (specification sections 1.5 and 8.3, target_aggregation). A driver that keeps others
// answers with what it has, and says in Result.SourceAggregation what that was.
type Resolution string

// The resolutions there are names for. AnyResolution leaves the choice to the driver.
const (
	AnyResolution Resolution = ""
	Raw           Resolution = "raw"
	ByMinute      Resolution = "1m"
	ByHour        Resolution = "1h"
	ByDay         Resolution = "1d"
)

var resolutions = []Resolution{AnyResolution, Raw, ByMinute, ByHour, ByDay}

// ParseResolution reads the name of a resolution; nothing at all leaves the choice to the driver.
func ParseResolution(text string) (Resolution, error) {
	if r := Resolution(text); slices.Contains(resolutions, r) {
		return r, nil
	}
	return AnyResolution, fmt.Errorf("cannot use resolution %.100q: want raw, 1m, 1h or 1d", text)
}

// step is the length of a point in seconds at this resolution that is made of whole
// steps of raw seconds, and no shorter than step.
func (r Resolution) step(raw, step int64) int64 {
	length := map[Resolution]int64{ByMinute: 60, ByHour: 3600, ByDay: 86_400}[r]
	if length%raw != 0 || length == 0 {
		return step
	}
	return (step + length - 1) / length * length
}
