// Package drivers makes timeseries drivers of remote stores: InfluxDB, Prometheus
// and ClickHouse, each in a package below this one that knows its protocols.
// Here is what they share: points in a queue on disk (see package delivery), and the answers to
// questions, for which samples are fetched and counted as the embedded store does
// (specification section 6, R33).
package drivers

import (
	"context"
	"iter"

	"github.com/weirhq/weir/timeseries"
)

// Remote is a remote store. Its methods may be called from any goroutine. Tag
// values in what it gets are valid UTF-8.
type Remote interface {
	// Setup prepares the store. It is called until it returns nil, and points may be sent before.
	Setup(ctx context.Context) error

	// Send stores points. After a *delivery.Rejected, which says that something is wrong with the points,
	// fewer of them are sent; after any other error, such as a *delivery.Later, the same ones once
	// more. Points may come again that are stored, and must then do no harm.
	Send(ctx context.Context, points []timeseries.Point) error

	// Samples yields series with samples in the range of q. It may yield series that do
	// not match, so it is free to leave filters out.
	Samples(ctx context.Context, q timeseries.SampleQuery) iter.Seq2[*timeseries.Samples, error]

	// Before yields the series that have a sample at or before q.Through, however
	// long ago: per metric the value of the last one, at any one time. q.After means nothing.
	Before(ctx context.Context, q timeseries.SampleQuery) iter.Seq2[*timeseries.Samples, error]

	// Series yields the tag values of series with a sample at start, at end or
	// between. It may yield some that do not match, as Samples may.
	Series(ctx context.Context, schema *timeseries.Schema, tags timeseries.Tags, start, end int64) iter.Seq2[[]string, error]

	// Delete removes series as timeseries.Driver says; there is a prefix or a tag.
	Delete(ctx context.Context, prefix string, tags timeseries.Tags) error
}
