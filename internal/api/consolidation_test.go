package api

import (
	"net/url"
	"testing"

	"github.com/weirhq/weir/timeseries"
)

func TestConsolidation(t *testing.T) {
	for text, want := range map[string]timeseries.Consolidation{
		"": timeseries.BySchema, "mean": timeseries.ByMean, "max": timeseries.ByMax, "min": timeseries.ByMin,
	} {
		p := &parameters{values: url.Values{"consolidation": {text}}}
		if got := p.consolidation(); got != want || p.err != nil {
			t.Errorf("%q: %v (%v), want %v", text, got, p.err, want)
		}
	}
	p := &parameters{values: url.Values{"consolidation": {"peak"}}}
	if p.consolidation(); p.err == nil {
		t.Error("peak was accepted")
	}
}
