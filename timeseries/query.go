package timeseries

import "math"

// Tags are tag values by tag name. In a query a tag that is not there matches every value.
type Tags map[string]string

// Query asks a driver for points of one schema.
type Query struct {
	Schema *Schema
	Tags   Tags // filter: tags of the schema, or keys inside its packed tag; others are an error in Query, ignored in Total
	// GroupBy names tags, or keys inside the packed tag, for each combination of
	// which the answer has series of its own. Series that fall into one group are
	// added point by point. With every tag of the schema in Tags there is one
	// group of one series, which is what the ntopng contract asks for.
	GroupBy    []string
	Start, End int64 // Unix seconds; points cover (Start, End] on the grid of the sampled step
	Options
}

// Options are the query options of the contract (specification section 1.5).
// Take DefaultOptions and change what differs.
type Options struct {
	MinPoints    int     // a series with fewer known points is all FillValue
	MaxPoints    int     // upper target for points per series; below 1 means 1
	FillValue    float64 // for slots without a value
	MinValue     float64 // smaller values are raised to it; -Inf leaves negative gauges alone
	Top          int     // items of a top-k answer
	NoStatistics bool    // leave statistics out
	InitialPoint bool    // one more slot before Start, not part of statistics
	KeepNaN      bool    // slots without a value stay NaN whatever FillValue is
	KeepTotal    bool    // statistics of gauges have a total: the sum of the points
	Round        bool    // values are rounded to whole numbers, as ntopng shows them
	WithSeries   bool    // a top-k answer also holds the series of its items
	// Consolidation is what becomes of the raw points in a longer step. The largest
	// and smallest of several series in one group are added up like their means.
	Consolidation Consolidation
	// Resolution is read wherever its data are kept, others where they are not. Points are
	// no shorter than its slots.
	Resolution Resolution
}

// Consolidation says how the raw points in a longer step become one.
type Consolidation uint8

// ByMax shows a peak that lasted for one raw step however long the range is (specification section 8.2, R34).
const (
	BySchema Consolidation = iota // the Aggregation of a gauge, the mean otherwise
	ByMean
	ByMax
	ByMin
)

// of is the aggregation to be used for s.
func (c Consolidation) of(s *Schema) Aggregation {
	switch {
	case c == ByMax:
		return Max
	case c == ByMin:
		return Min
	case c == BySchema && s.Type == Gauge:
		return s.Aggregation
	default:
		return Mean
	}
}

// DefaultOptions are what the contract fills in.
func DefaultOptions() Options {
	return Options{MaxPoints: 80, FillValue: math.NaN(), MinValue: 0, Top: 8}
}

// Result is the answer to a Query. Point i of every series covers
// (Start+i*Step, Start+(i+1)*Step].
type Result struct {
	Schema            *Schema
	Tags              Tags // the filter that was asked
	Start, End        int64
	Step, RawStep     int64 // seconds between points, and between raw points
	Count             int   // points per series
	Series            []Series
	Total             []float64   // point by point sum of all series (additional_series.total); NaN where all are
	Statistics        *Statistics // of Total; nil when not wanted
	SourceAggregation string      // the coarsest resolution that answered: a Resolution: "raw" where there are no rollups
}

// Series is one metric of one group.
type Series struct {
	Label      string // name of the metric
	Tags       Tags   // the filter and the values of this group
	Data       []float64
	Statistics *Statistics // nil when not wanted
}

// TopResult is the answer to TopK.
type TopResult struct {
	Items []TopItem // largest first, ties by tag text
	// Result describes all matching series together: Total and Statistics always,
	// Series those of the items when Options.WithSeries is set.
	Result
}

// TopItem is one combination of the tags that were grouped by.
type TopItem struct {
	Tags     Tags               // the filter and the values of this item
	Value    float64            // integral over the range, all metrics
	Partials map[string]float64 // integral per metric
}

// ListQuery asks which series there are.
type ListQuery struct {
	Schema *Schema
	Tags   Tags  // filter as in Query; unknown names are ignored
	Start  int64 // series need a sample at or after it, Unix seconds
	End    int64 // and at or before it; 0 means no end
}
