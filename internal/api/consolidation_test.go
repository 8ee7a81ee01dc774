package api

import (
	"net/url"
	"strings"
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

func TestResolution(t *testing.T) {
	for _, text := range []string{"", "raw", "1m", "1h", "1d"} {
		p := &parameters{values: url.Values{"resolution": {text}}}
		if got := p.resolution(); string(got) != text || p.err != nil {
			t.Errorf("%q: %q (%v)", text, got, p.err)
		}
	}
	p := &parameters{values: url.Values{"resolution": {"5m"}}}
	if p.resolution(); p.err == nil || !strings.Contains(p.err.Error(), "want raw, 1m, 1h or 1d") {
		t.Errorf("5m: %v", p.err)
	}
}
