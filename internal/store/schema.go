package store

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/weirhq/weir/internal/store/block"
	"github.com/weirhq/weir/timeseries"
)

// A block spans rowsPerBlock steps, but no less than minSpan and no more than maxSpan seconds.
const (
	rowsPerBlock = 120
	minSpan      = 240
	maxSpan      = block.MaxRows
)

// schema is a schema as it is stored. Its fields are guarded by database.mu.
type schema struct {
	ID          uint32                 `json:"-"`
	Name        string                 `json:"name"`
	Step        int64                  `json:"step"` // as last defined; see Span
	Tags        []string               `json:"tags"`
	Metrics     []string               `json:"metrics"` // all there ever were, in the order of the columns
	Type        timeseries.MetricsType `json:"type"`
	Aggregation timeseries.Aggregation `json:"aggregation"`
	Heartbeat   int64                  `json:"heartbeat,omitempty"`
	Packed      string                 `json:"packed,omitempty"`
	Span        int64                  `json:"span"`  // seconds of a block; stays as it was first
	First       int64                  `json:"first"` // start of the first block
	Last        int64                  `json:"last"`  // start of the last block; before First when there is none

	Oldest int64 `json:"oldest,omitempty"` // start of the first block of points there ever was

	Tiers []tier `json:"tiers,omitempty"`
	// Points up to Floor are gone, what is known of them is in the tiers. 0: none are.
	Floor int64 `json:"floor,omitempty"`

	gate int64 // points up to it are refused: Floor will be there
	cuts int   // times that something was about to be deleted because it was old
}

func newSchema(id uint32, s *timeseries.Schema, rollups []Rollup) *schema {
	sc := &schema{
		ID: id, Name: s.Name, Tags: slices.Clone(s.Tags), Metrics: slices.Clone(s.Metrics), Packed: s.Packed,
		Span: min(max(s.Step*rowsPerBlock, minSpan), maxSpan), Last: -1,
	}
	sc.adopt(s)
	sc.addTiers(rollups)
	return sc
}

// adopt takes over what may change in a definition, and reports whether anything did.
func (sc *schema) adopt(s *timeseries.Schema) bool {
	changed := sc.Step != s.Step || sc.Type != s.Type || sc.Aggregation != s.Aggregation || sc.Heartbeat != s.Heartbeat
	sc.Step, sc.Type, sc.Aggregation, sc.Heartbeat = s.Step, s.Type, s.Aggregation, s.Heartbeat
	return changed
}

// start is the start of the block that holds time t.
func (sc *schema) start(t int64) int64 { return t - t%sc.Span }

func (sc *schema) encode() []byte {
	data, err := json.Marshal(sc)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return data
}

func decodeSchema(id uint32, data []byte) (*schema, error) {
	sc := &schema{ID: id}
	if err := json.Unmarshal(data, sc); err != nil {
		return nil, err
	}
	if sc.Span < 1 || sc.Span > maxSpan || len(sc.Metrics) == 0 {
		return nil, fmt.Errorf("span %d or no metrics", sc.Span)
	}
	for i, t := range sc.Tiers {
		if t.Step < 1 || t.Span < t.Step || t.Span%t.Step != 0 || t.Span/t.Step > block.MaxRows || int(t.ID) != i+1 || int(t.Source) > i || len(sc.Tiers) > maxTiers {
			return nil, fmt.Errorf("tier %d of %d s in blocks of %d s", t.ID, t.Step, t.Span)
		}
	}
	sc.gate = sc.Floor
	if sc.Oldest == 0 {
		sc.Oldest = sc.First
	}
	return sc, nil
}

// definition is the schema as callers know it.
func (sc *schema) definition() *timeseries.Schema {
	return &timeseries.Schema{
		Name: sc.Name, Step: sc.Step, Tags: slices.Clone(sc.Tags), Metrics: slices.Clone(sc.Metrics),
		Type: sc.Type, Aggregation: sc.Aggregation, Heartbeat: sc.Heartbeat, Packed: sc.Packed,
	}
}

// columns are the numbers of the columns that hold metrics, -1 where there is none.
func (sc *schema) columns(metrics []string) []int {
	columns := make([]int, len(metrics))
	for i, name := range metrics {
		columns[i] = slices.Index(sc.Metrics, name)
	}
	return columns
}

// binding ties a schema as a caller defined it to the stored one.
type binding struct {
	schema  *schema
	columns []int // of its metrics; nil when they are the first columns in order
	width   int   // columns of a row
}

// fewBindings is up to how many definitions are remembered in any case. Beyond, it is
// twice as many as there are schemas: a scrape of tens of thousands of metrics finds all
// of its own again, and a caller that makes new ones for every batch only loses the memory of them.
const fewBindings = 1024

// bind finds or creates the stored schema of s and gives it columns for all
// metrics. What is new goes into the batch of g. The caller holds d.mu.
func (d *database) bind(g *group, s *timeseries.Schema) (*binding, error) {
	if b := d.bindings[s]; b != nil {
		return b, nil
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	sc := d.schemas[s.Name]
	changed := false
	if sc == nil {
		d.lastSchema++
		sc = newSchema(d.lastSchema, s, d.limits.rollups)
		d.schemas[s.Name], d.schemaByID[sc.ID] = sc, sc
		changed = true
	} else {
		if !slices.Equal(sc.Tags, s.Tags) {
			return nil, fmt.Errorf("cannot append to %q: its tags are %q, but it is stored with %q", s.Name, s.Tags, sc.Tags)
		}
		union := sc.Metrics
		for _, name := range s.Metrics {
			if !slices.Contains(union, name) {
				union = append(slices.Clip(union), name)
			}
		}
		if len(union) > timeseries.MaxMetrics {
			return nil, fmt.Errorf("cannot append to %q: with metrics %q it would have %d in all, at most %d are allowed", s.Name, s.Metrics, len(union), block.MaxMetrics)
		}
		changed = sc.adopt(s) || len(union) > len(sc.Metrics)
		sc.Metrics = union
		changed = sc.addTiers(d.limits.rollups) || changed // another step may take others
	}
	if changed {
		g.set(schemaKey(sc.ID), sc.encode())
	}
	b := &binding{schema: sc, width: len(s.Metrics)}
	if !slices.Equal(sc.Metrics[:len(s.Metrics)], s.Metrics) {
		b.columns, b.width = sc.columns(s.Metrics), len(sc.Metrics)
	}
	if len(d.bindings) >= max(fewBindings, 2*len(d.schemas)) {
		clear(d.bindings)
	}
	d.bindings[s] = b
	return b, nil
}
