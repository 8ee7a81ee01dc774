// Package prometheus writes series by Prometheus' remote write protocol, to
// Prometheus itself and to what takes the same, and reads them back through the HTTP
// API of Prometheus (specification section 6).
//
// Names and labels are those of internal/prometheus. Samples are fetched as they are, and rates computed
// from them here, since rate() differs from what the contract of drivers asks for (R33).
package prometheus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/weirhq/weir/internal/delivery"
	"github.com/weirhq/weir/internal/drivers"
	naming "github.com/weirhq/weir/internal/prometheus"
	"github.com/weirhq/weir/timeseries"
)

// Config says where series go and where they are read.
type Config struct {
	Access   delivery.Access // URL is the one below which /api/v1/query is
	WriteURL string          // "" for /api/v1/write below the URL
}

// Server is a Prometheus. It implements drivers.Remote.
type Server struct {
	cfg    Config
	client *delivery.Client
}

var _ drivers.Remote = (*Server)(nil)

// New returns a Server, of which nothing is asked yet.
func New(cfg Config) *Server {
	cfg.Access.Scheme = "Bearer"
	return &Server{cfg: cfg, client: delivery.NewClient(cfg.Access)}
}

// Setup implements drivers.Remote: it sees whether the server answers.
func (s *Server) Setup(ctx context.Context) error {
	return s.client.Ask(ctx, delivery.Request{Path: "/api/v1/query", Query: url.Values{"query": {"1"}}})
}

// Send implements drivers.Remote. A server that takes no late samples rejects those
// that it has, when they come again; they are looked for one by one.
func (s *Server) Send(ctx context.Context, points []timeseries.Point) error {
	err := s.write(ctx, points)
	var rejected *delivery.Rejected
	if !errors.As(err, &rejected) || len(points) > 1 {
		return err
	}
	has, asked := s.has(ctx, &points[0])
	switch {
	case asked != nil:
		return errors.Join(errors.New(rejected.Error()), asked) // so that it is sent again
	case has:
		return nil
	}
	return err
}

// has reports whether the server has all values of a point.
func (s *Server) has(ctx context.Context, p *timeseries.Point) (bool, error) {
	tags := make(timeseries.Tags)
	for i, name := range p.Schema.Tags {
		tags[name] = p.Tags[i]
	}
	same := func(a, b float64) bool { return a == b || math.IsNaN(b) }
	for one, err := range s.Samples(ctx, timeseries.SampleQuery{Schema: p.Schema, Tags: tags, After: p.Time - 1, Through: p.Time}) {
		if err != nil {
			return false, err
		}
		if len(one.Times) != 1 || !slices.Equal(one.Tags, p.Tags) {
			continue
		}
		has := true
		for m, v := range p.Values {
			has = has && same(one.Values[m][0], v)
		}
		if has {
			return true, nil
		}
	}
	return false, nil
}

func (s *Server) write(ctx context.Context, points []timeseries.Point) error {
	return s.client.Ask(ctx, delivery.Request{
		Method: http.MethodPost, Path: cmp.Or(s.cfg.WriteURL, "/api/v1/write"), Body: snappy.Encode(nil, writeRequest(points)),
		Header: map[string]string{
			"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0", "User-Agent": "weir",
		},
	})
}

// Delete implements drivers.Remote, where the administration API of the server is on.
// Series that came from Prometheus have no label by which those of one prefix can be found.
func (s *Server) Delete(ctx context.Context, prefix string, tags timeseries.Tags) error {
	if prefix+":" == naming.SchemaOf("") {
		return fmt.Errorf("cannot delete series of %q: they cannot be told from others there: %w", prefix, errors.ErrUnsupported)
	}
	matchers := []string{`schema!=""`}
	if prefix != "" {
		matchers[0] = "schema=~" + strconv.Quote(regexp.QuoteMeta(prefix)+":.*")
	}
	for name, value := range tags {
		matchers = append(matchers, labelOf(name)+"="+strconv.Quote(value))
	}
	slices.Sort(matchers[1:])
	err := s.client.Ask(ctx, delivery.Request{
		Method: http.MethodPost, Path: "/api/v1/admin/tsdb/delete_series", Form: url.Values{"match[]": {"{" + strings.Join(matchers, ",") + "}"}},
	})
	if err != nil {
		return fmt.Errorf("cannot delete series of %q: %w", prefix, err)
	}
	return nil
}

// labelOf is the name of the label of a tag of any schema.
func labelOf(tag string) (label string) {
	schema := &timeseries.Schema{Name: "a:b", Tags: []string{tag}}
	naming.Labels(schema, []string{"1"}, "c").Range(func(l labels.Label) {
		if l.Value == "1" {
			label = l.Name
		}
	})
	return label
}

// columns is how a schema looks in Prometheus.
type columns struct {
	schema  *timeseries.Schema
	metrics map[string]int // number of a metric by its name there
	labels  []string       // of each tag, "" of the packed one
	named   bool           // series have the label schema
}

func newColumns(schema *timeseries.Schema) *columns {
	c := &columns{
		schema: schema, metrics: make(map[string]int), labels: make([]string, len(schema.Tags)),
	}
	for m, name := range schema.Metrics {
		c.metrics[naming.MetricName(schema, name)] = m
	}
	numbers := make([]string, len(schema.Tags)) // each tag has its number as its value
	for i, name := range schema.Tags {
		if name != schema.Packed {
			numbers[i] = strconv.Itoa(i)
		}
	}
	naming.Labels(schema, numbers, schema.Metrics[0]).Range(func(l labels.Label) {
		if l.Name == "schema" && l.Value == schema.Name {
			c.named = true
		} else if i := slices.Index(numbers, l.Value); i >= 0 && l.Name != model.MetricNameLabel {
			c.labels[i] = l.Name
		}
	})
	return c
}

// selector selects the series of metrics, all when there are none, by those of tags that have labels of their own.
func (c *columns) selector(metrics []int, tags timeseries.Tags) string {
	var names []string
	for name, m := range c.metrics {
		if metrics == nil || slices.Contains(metrics, m) {
			names = append(names, regexp.QuoteMeta(name))
		}
	}
	slices.Sort(names)
	matchers := []string{model.MetricNameLabel + "=~" + strconv.Quote(strings.Join(names, "|"))}
	if c.named {
		matchers = append(matchers, "schema="+strconv.Quote(c.schema.Name))
	}
	for i, name := range c.schema.Tags {
		if value, ok := tags[name]; ok && c.labels[i] != "" {
			matchers = append(matchers, c.labels[i]+"="+strconv.Quote(value))
		}
	}
	return "{" + strings.Join(matchers, ",") + "}"
}

// values are the tag values of a series, from its labels. Those that belong to no tag are in the packed one.
func (c *columns) values(set map[string]string) []string {
	values := make([]string, len(c.schema.Tags))
	for i, label := range c.labels {
		values[i] = set[label]
	}
	packed := slices.Index(c.schema.Tags, c.schema.Packed)
	if packed < 0 {
		return values
	}
	var text []byte
	for _, label := range slices.Sorted(maps.Keys(set)) {
		if label != model.MetricNameLabel && !(label == "schema" && c.named) && !slices.Contains(c.labels, label) {
			text = timeseries.AppendPacked(text, label, set[label])
		}
	}
	values[packed] = string(text)
	return values
}
