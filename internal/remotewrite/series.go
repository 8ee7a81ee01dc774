package remotewrite

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/weirhq/weir/internal/writes"
	"github.com/weirhq/weir/timeseries"
)

// defaultStep is the step in seconds of schemas made on demand: how often most installations scrape.
const defaultStep = 15

// model is what schemas made on demand are like: "prometheus:METRIC".
var model = timeseries.Schema{Name: "prometheus", Step: defaultStep, Tags: []string{"labels"}, Metrics: []string{"value"}, Packed: "labels"}

// series is what a set of labels is in the store.
type series struct {
	err    error // why nothing can be written to it
	schema *timeseries.Schema
	tags   []string
}

// Types of metrics, as version 2 of the protocol numbers them.
const (
	typeCounter   = 1
	typeHistogram = 3
	typeSummary   = 5
)

// metricsType tells counters from gauges: by the type that the sender says, or by the names that
// only counters have. Prometheus' queries do not mind; those of Weir show rates of counters.
func metricsType(name string, kind uint64) timeseries.MetricsType {
	switch {
	case kind == typeCounter || kind == typeHistogram, strings.HasSuffix(name, "_total"), strings.HasSuffix(name, "_bucket"),
		kind == typeSummary && (strings.HasSuffix(name, "_count") || strings.HasSuffix(name, "_sum")):
		return timeseries.Counter
	}
	return timeseries.Gauge
}

// newSeries takes labels apart.
func newSeries(data []byte, kind uint64, schemas *writes.Schemas) *series {
	s := new(series)
	s.err = s.resolve(data, kind, schemas)
	return s
}

func (s *series) resolve(data []byte, kind uint64, schemas *writes.Schemas) error {
	labels, err := parseLabels(data)
	if err != nil {
		return err
	}
	if len(labels) > timeseries.MaxPackedItems {
		return fmt.Errorf("%d labels, at most %d are allowed", len(labels), timeseries.MaxPackedItems)
	}
	slices.SortFunc(labels, func(a, b label) int { return strings.Compare(a.name, b.name) })
	var packed []byte
	metric := ""
	for i, l := range labels {
		switch {
		case !utf8.ValidString(l.name) || !utf8.ValidString(l.value):
			return fmt.Errorf("the label %.100q with the value %.100q is not UTF-8", l.name, l.value)
		case l.name == "":
			return errors.New("a label has no name")
		case i > 0 && labels[i-1].name == l.name:
			return fmt.Errorf("the label %.100q is there twice", l.name)
		case l.name == "__name__":
			metric = l.value
		case l.value != "": // one without a value is none
			packed = timeseries.AppendPacked(packed, l.name, l.value)
		}
	}
	if metric == "" {
		return fmt.Errorf("the label __name__ is missing beside %.200q", packed)
	}
	if s.schema, err = schemas.Foreign(metric, metricsType(metric, kind)); err != nil {
		return err
	}
	s.tags = []string{string(packed)}
	return nil
}
