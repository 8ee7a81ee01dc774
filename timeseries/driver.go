package timeseries

import (
	"context"
	"errors"
	"iter"
)

// Errors a driver returns. Callers test for them with errors.Is; the text of
// the returned error says which schema, tag or point it was.
var (
	ErrUnknownSchema = errors.New("unknown schema")
	ErrUnknownTag    = errors.New("unknown tag")
	ErrNoSeries      = errors.New("no such series") // nothing was ever stored that matches
	ErrBadRange      = errors.New("start is after end")
	ErrFull          = errors.New("limit reached") // of series or of a queue; the point is counted as dropped
)

// Driver is where series live: the functions of the timeseries driver contract
// (specification section 2.1; its `new` is the constructor of an
// implementation). Every method may be called from any goroutine.
type Driver interface {
	// Setup makes the driver ready to be used; it is called again after an error.
	Setup(ctx context.Context) error

	// Append stores points of any schemas, in any order of time. It returns nil
	// only when all of them are in a log that survives the death of the process.
	// On an error that names single points (see AppendError) the others are stored.
	// The driver keeps neither the slice nor what the points refer to, except
	// their Schema.
	Append(ctx context.Context, points []Point) error

	// Query returns points on the grid of the sampled step. It fails with
	// ErrNoSeries when nothing matches, ErrUnknownTag, or ErrBadRange.
	Query(ctx context.Context, q Query) (*Result, error)

	// Total returns per metric the volume of a counter or derivative, or the sum
	// of a gauge, over the samples in (Start, End]. ErrNoSeries as in Query.
	Total(ctx context.Context, q Query) (map[string]float64, error)

	// List yields the full tags of every series that matches, streaming: a
	// million series are never in memory at once. The map is the caller's. An
	// error ends the sequence; ErrNoSeries when no series at all match the tags,
	// which differs from series that match without a sample in the range.
	List(ctx context.Context, q ListQuery) iter.Seq2[Tags, error]

	// TopK returns the Options.Top largest combinations of the tags in
	// q.GroupBy; an empty GroupBy means the tags of the schema that q.Tags lacks.
	TopK(ctx context.Context, q Query) (*TopResult, error)

	// Export pushes out what is buffered. It is called every few seconds.
	Export(ctx context.Context) error

	// LatestTimestamp is the newest time worth querying, in Unix seconds.
	LatestTimestamp(ctx context.Context) (int64, error)

	// Delete removes the series of every schema whose prefix is exactly prefix
	// ("" for all) and whose tags match; a schema that lacks one of the tags is not
	// touched. An empty prefix without tags is refused. Deleted points are
	// invisible to the next call.
	Delete(ctx context.Context, prefix string, tags Tags) error

	// DeleteOld applies retention as of now, in Unix seconds.
	DeleteOld(ctx context.Context, now int64) error
}

// Catalog is implemented by drivers that can name the schemas they hold.
type Catalog interface {
	// Schemas returns the schemas that were ever appended to, sorted by name.
	Schemas(ctx context.Context) ([]*Schema, error)
}

// AppendError says which points of a batch were refused; the others are stored.
type AppendError struct {
	Refused int   // how many
	First   error // why, for the first of them
}

func (e *AppendError) Error() string { return e.First.Error() }
func (e *AppendError) Unwrap() error { return e.First }
