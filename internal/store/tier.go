package store

import (
	"slices"
	"strconv"
	"time"

	"github.com/weirhq/weir/timeseries"
)

// Rollup is a resolution in which series are kept besides their points.
type Rollup struct {
	Step time.Duration // of a slot; schemas whose step it does not suit get the next longer one that does
	Keep time.Duration // how long
}

// DefaultRollups are those of a Config without any (specification section 8.3, R35).
var DefaultRollups = []Rollup{
	{time.Minute, 60 * 24 * time.Hour},
	{time.Hour, 400 * 24 * time.Hour},
	{24 * time.Hour, 5 * 365 * 24 * time.Hour},
}

// tier is a rollup of one schema. Its slots are those of a grid, (n*Step, (n+1)*Step],
// made from the points or from the slots of a shorter tier. At any moment
// the slots between From and Rolled are what the blocks of the source make of them; a
// checkpoint that adds late points to these makes them anew in the same batch.
// The fields are guarded by database.mu.
type tier struct {
	ID     byte  `json:"id"`     // in keys
	Source byte  `json:"source"` // tier it is made from
	Step   int64 `json:"step"`   // seconds of a slot, a multiple of that of the source
	Span   int64 `json:"span"`   // seconds of a block, a multiple of Step and of that of the source
	Keep   int64 `json:"keep"`   // seconds
	From   int64 `json:"from"`   // slots that begin before it are gone
	Gone   int64 `json:"gone"`   // its blocks before are deleted: From, but for a deletion that goes on
	Rolled int64 `json:"rolled"` // slots that begin from it on are not made yet

	rolling int64 // where Rolled goes next: points before it are late already
}

// rowsPerTierBlock is how many slots a block of a tier has at least.
const rowsPerTierBlock = 120

// fit is the shortest slot from want on that is made of whole steps and divides, or
// is divided by, the span of a block of the source; 0 when none is near.
func fit(step, span, want int64) int64 {
	if want < 2*step {
		return 0
	}
	for r := (want + step - 1) / step * step; r <= 2*want; r += step {
		if r%span == 0 || span%r == 0 {
			return r
		}
	}
	return 0
}

// addTiers gives sc the tiers of rollups, which are sorted by step, that it does
// not have, and all of them their retention. A tier that is configured no more
// stays. It reports whether anything changed.
func (sc *schema) addTiers(rollups []Rollup) (changed bool) {
	for _, rollup := range rollups {
		want, keep := int64(rollup.Step/time.Second), int64(rollup.Keep/time.Second)
		source, step, span, from := byte(tierRaw), sc.Step, sc.Span, sc.Floor
		for _, t := range sc.Tiers { // the longest that is shorter
			if t.Step < want && t.Step > step && t.Step%sc.Step == 0 {
				source, step, span, from = t.ID, t.Step, t.Span, t.From
			}
		}
		length := fit(step, span, want)
		if length == 0 {
			continue
		}
		if i := slices.IndexFunc(sc.Tiers, func(t tier) bool { return t.Step == length }); i >= 0 {
			changed = changed || sc.Tiers[i].Keep != keep
			sc.Tiers[i].Keep = keep
			continue
		}
		if len(sc.Tiers) == maxTiers {
			continue
		}
		both := max(span, length) // one divides the other
		sc.Tiers = append(sc.Tiers, tier{
			ID: byte(len(sc.Tiers) + 1), Source: source, Step: length, Keep: keep,
			Span: (rowsPerTierBlock*length + both - 1) / both * both, From: (from + length - 1) / length * length,
		})
		changed = true
	}
	return changed
}

// maxTiers is how many tiers a schema can have, those configured no more included.
const maxTiers = 16

// tier returns the tier with that number, nil for the points.
func (sc *schema) tier(id byte) *tier {
	for i := range sc.Tiers {
		if sc.Tiers[i].ID == id {
			return &sc.Tiers[i]
		}
	}
	return nil
}

// margin is how far in seconds a point reaches into slots that it does not lie in.
func (sc *schema) margin() int64 {
	return (&timeseries.Schema{Type: sc.Type, Step: sc.Step, Heartbeat: sc.Heartbeat}).Margin()
}

// late is the time up to which a point changes slots that are made already.
func (sc *schema) late() int64 {
	limit := int64(0)
	for i := range sc.Tiers {
		limit = max(limit, sc.Tiers[i].Rolled, sc.Tiers[i].rolling)
	}
	if limit == 0 {
		return 0
	}
	return limit + sc.margin()
}

// tierName is what a tier is called in answers: 1m, 1h, 1d.
func tierName(step int64) timeseries.Resolution {
	unit := "s"
	switch {
	case step%86_400 == 0:
		step, unit = step/86_400, "d"
	case step%3600 == 0:
		step, unit = step/3600, "h"
	case step%60 == 0:
		step, unit = step/60, "m"
	}
	return timeseries.Resolution(strconv.FormatInt(step, 10) + unit)
}
