package api

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/weirhq/weir/timeseries"
)

const (
	defaultLimit = 1000 // series of a listing
	flushEvery   = 1024 // series between two writes to the network
)

type schemaJSON struct {
	Name        string   `json:"name"`
	Step        int64    `json:"step"` // seconds between raw points
	Type        string   `json:"type"` // counter, gauge, derivative
	Aggregation string   `json:"aggregation,omitempty"`
	Tags        []string `json:"tags"`
	Packed      string   `json:"packed,omitempty"` // the tag whose keys can be filtered and grouped by
	Metrics     []string `json:"metrics"`
}

// schemas answers with every schema that was ever stored.
func (s *server) schemas(w http.ResponseWriter, r *http.Request, _ *parameters) error {
	all, err := s.Catalog.Schemas(r.Context())
	if err != nil {
		return err
	}
	answer := struct {
		Schemas []schemaJSON `json:"schemas"`
	}{make([]schemaJSON, len(all))}
	for i, schema := range all {
		answer.Schemas[i] = describe(schema)
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

func describe(s *timeseries.Schema) schemaJSON {
	d := schemaJSON{Name: s.Name, Step: s.Step, Type: [...]string{"counter", "gauge", "derivative"}[s.Type], Tags: s.Tags, Packed: s.Packed, Metrics: s.Metrics}
	if s.Tags == nil {
		d.Tags = []string{}
	}
	if s.Type == timeseries.Gauge {
		d.Aggregation = [...]string{"mean", "max", "min", "last"}[s.Aggregation]
	}
	return d
}

// series answers with the series that match (R17), however many there are:
// {"series": [...], "count": n, "more": false}, streaming.
func (s *server) series(w http.ResponseWriter, r *http.Request, p *parameters) error {
	schemas, err := s.Catalog.Schemas(r.Context())
	if err != nil {
		return err
	}
	if p.get("schema") != "" || len(p.values["tag"]) > 0 { // which tags there are depends on the schema
		schema, err := s.schema(r.Context(), p)
		if err != nil {
			return err
		}
		schemas = []*timeseries.Schema{schema}
	}
	var q timeseries.ListQuery
	q.Start, q.End = p.interval(0, 0)
	limit := p.int("limit", defaultLimit, 0, 1<<31-1)
	if len(schemas) > 0 {
		q.Tags = p.tags(schemas[0])
	}
	if p.err != nil {
		return p.err
	}

	out := newStream(w)
	for _, q.Schema = range schemas {
		for tags, err := range s.Driver.List(r.Context(), q) {
			switch {
			case errors.Is(err, timeseries.ErrNoSeries) && p.get("schema") == "":
				// all of this schema were deleted; the others may have some
			case err != nil && out.count == 0:
				return s.explain(q.Schema, q.Tags, err)
			case err != nil:
				return out.end(fmt.Sprintf(`"error":%s`, quote("cannot list the rest: "+err.Error())))
			case limit > 0 && out.count == limit:
				return out.end(`"more":true`)
			default:
				if err := out.write(q.Schema.Name, tags); err != nil {
					return nil // the client went away or does not read
				}
			}
		}
	}
	return out.end(`"more":false`)
}

// stream writes series one by one, so that a listing is never in memory as a whole.
type stream struct {
	w        *bufio.Writer
	response *http.ResponseController
	header   http.Header
	count    int
}

func newStream(w http.ResponseWriter) *stream {
	return &stream{w: bufio.NewWriterSize(w, 1<<15), response: http.NewResponseController(w), header: w.Header()}
}

func (s *stream) write(schema string, tags timeseries.Tags) error {
	lead := ",\n"
	if s.count == 0 {
		s.begin()
		lead = ""
	}
	if s.count%flushEvery == 0 {
		if err := s.flush(); err != nil {
			return err
		}
	}
	s.count++
	text, err := json.Marshal(struct {
		Schema string          `json:"schema"`
		Tags   timeseries.Tags `json:"tags"`
	}{schema, tags})
	if err != nil {
		return err
	}
	_, _ = s.w.WriteString(lead)
	_, err = s.w.Write(text)
	return err
}

func (s *stream) begin() {
	s.header.Set("Content-Type", "application/json")
	_, _ = s.w.WriteString("{\"series\":[\n")
}

// flush sends what there is and gives the client time for the next part.
func (s *stream) flush() error {
	_ = s.response.SetWriteDeadline(time.Now().Add(writeTimeout)) // not every ResponseWriter can, and then nothing is lost
	return s.w.Flush()
}

// end writes the members after the series.
func (s *stream) end(member string) error {
	if s.count == 0 {
		s.begin()
	}
	fmt.Fprintf(s.w, "\n],\"count\":%d,%s}\n", s.count, member)
	_ = s.w.Flush() // a client that went away needs no answer
	return nil
}

func quote(text string) []byte {
	b, _ := json.Marshal(text) // a string cannot fail
	return b
}
