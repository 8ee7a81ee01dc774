// Package influxdb writes series to InfluxDB, 1.x and 2.x, as ntopng does, so that its
// databases go on being used, and reads them back (specification sections 4.1 to
// 4.3 and 6).
//
// A schema is a measurement, its metrics are fields, its tags are tags. The keys in a packed tag are tags
// of their own where that can be undone (see drivers.Flat). Questions are InfluxQL, which
// 2.x answers too.
package influxdb

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"

	"github.com/weirhq/weir/internal/delivery"
	"github.com/weirhq/weir/internal/drivers"
	"github.com/weirhq/weir/timeseries"
)

// Config says where series go: to a database of 1.x, or to a bucket of 2.x.
type Config struct {
	Access       delivery.Access // a token is one of 2.x
	Database     string          // of 1.x; made when it is missing
	Bucket       string          // of 2.x, instead of Database
	Organization string          // that the bucket belongs to
}

// Server is an InfluxDB. It implements drivers.Remote.
type Server struct {
	cfg    Config
	client *delivery.Client
}

var _ drivers.Remote = (*Server)(nil)

// New returns a Server, of which nothing is asked yet.
func New(cfg Config) *Server {
	cfg.Access.Scheme = "Token"
	return &Server{cfg: cfg, client: delivery.NewClient(cfg.Access)}
}

// second reports whether the server is one of 2.x.
func (s *Server) second() bool { return s.cfg.Bucket != "" }

// Setup implements drivers.Remote: it makes the database when it is missing.
func (s *Server) Setup(ctx context.Context) error {
	if s.second() {
		return s.client.Ask(ctx, delivery.Request{Path: "/ping"})
	}
	// The server says nothing when the database is there, and then leaves it as it is. A user
	// who may not make one may still use one that is there.
	err := s.command(ctx, "CREATE DATABASE "+quoteName(s.cfg.Database))
	if err != nil && s.command(ctx, "SHOW MEASUREMENTS LIMIT 1") == nil {
		return nil
	}
	return err
}

// command runs a statement that changes something and has no answer.
func (s *Server) command(ctx context.Context, statement string) error {
	for _, err := range s.rows(ctx, http.MethodPost, statement) {
		if err != nil {
			return err
		}
	}
	return nil
}

// Send implements drivers.Remote.
func (s *Server) Send(ctx context.Context, points []timeseries.Point) error {
	return s.Write(ctx, lines(points), len(points), "s")
}

// Write sends n lines, whose times have a precision of "s" or "ms".
func (s *Server) Write(ctx context.Context, lines []byte, n int, precision string) error {
	request := delivery.Request{
		Method: http.MethodPost, Path: "/write", Query: url.Values{"db": {s.cfg.Database}, "precision": {precision}},
		Header: map[string]string{"Content-Type": "text/plain; charset=utf-8"}, Body: lines,
	}
	if s.second() {
		request.Path = "/api/v2/write"
		request.Query = url.Values{"bucket": {s.cfg.Bucket}, "org": {s.cfg.Organization}, "precision": {precision}}
	}
	err := s.client.Ask(ctx, request)
	var rejected *delivery.Rejected
	if errors.As(err, &rejected) && dropped(rejected.Reason) == n {
		rejected.All = true
	}
	return err
}

var partial = regexp.MustCompile(`partial write: .*dropped=(\d+)`)

// dropped is how many points of a batch are not stored, when the server stored
// the others and says so; else -1. Which ones it does not say.
func dropped(reason string) int {
	m := partial.FindStringSubmatch(reason)
	if m == nil {
		return -1
	}
	n, err := strconv.Atoi(m[1])
	if err != nil || n == 0 { // 0 of lines that could not be read
		return -1
	}
	return n
}

// Delete implements drivers.Remote.
func (s *Server) Delete(ctx context.Context, prefix string, tags timeseries.Tags) error {
	if s.second() {
		return s.deleteSecond(ctx, prefix, tags)
	}
	statement := "DELETE"
	if prefix != "" {
		statement += " FROM " + quotePrefix(prefix)
	}
	if len(tags) > 0 {
		statement += " WHERE " + conditions(tags)
	}
	err := s.command(ctx, statement)
	if err != nil {
		return fmt.Errorf("cannot delete series of %q: %w", prefix, err)
	}
	return nil
}
