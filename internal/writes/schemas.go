package writes

import (
	"fmt"
	"strings"
	"sync"

	"github.com/weirhq/weir/timeseries"
)

// maxSchemas is how many schemas one protocol may bring into being.
const maxSchemas = 10_000

// Known returns the schema that is declared under a name, nil when there is none. Any goroutine.
type Known func(name string) *timeseries.Schema

// Schemas are those of one protocol: declared ones, and those made when their name
// is written first. Its methods may be called from any goroutine.
type Schemas struct {
	known Known
	model timeseries.Schema

	mu   sync.Mutex
	made map[string]*timeseries.Schema
}

// NewSchemas returns Schemas that are like model but for the name, which is
// "PREFIX:NAME" with the prefix in model.Name. One that is declared under such a name
// with the tags and metrics of model takes its place: so its step can be chosen.
func NewSchemas(model timeseries.Schema, known Known) *Schemas {
	return &Schemas{known: known, model: model, made: make(map[string]*timeseries.Schema)}
}

// Declared is the schema that is declared under exactly this name, nil when there is none.
func (s *Schemas) Declared(name string) *timeseries.Schema { return s.known(name) }

// Foreign is the schema of what another program calls name, made with metrics of that kind when it is new.
// ":", "%" and spaces, which the name of a schema cannot hold, are written as in a URL. The
// error is timeseries.ErrFull, or says what is wrong with the name.
func (s *Schemas) Foreign(name string, kind timeseries.MetricsType) (*timeseries.Schema, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if schema := s.made[name]; schema != nil {
		return schema, nil
	}
	if len(s.made) >= maxSchemas {
		return nil, fmt.Errorf("cannot make a schema of %.100q: there are %d already: %w", name, maxSchemas, timeseries.ErrFull)
	}
	schema := s.model
	schema.Name, schema.Type = schema.Name+":"+escaper.Replace(name), kind
	if declared := s.known(schema.Name); declared != nil {
		if !fits(declared, &s.model) {
			return nil, fmt.Errorf("cannot write to %q: it is declared with the tags %q and metrics %q, and must have %q and %q", declared.Name, declared.Tags, declared.Metrics, s.model.Tags, s.model.Metrics)
		}
		schema = *declared
	}
	if err := schema.Validate(); err != nil {
		return nil, err
	}
	s.made[strings.Clone(name)] = &schema
	return &schema, nil
}

var escaper = strings.NewReplacer("%", "%25", ":", "%3A", " ", "%20")

func fits(a, b *timeseries.Schema) bool {
	return strings.Join(a.Tags, "\n") == strings.Join(b.Tags, "\n") && strings.Join(a.Metrics, "\n") == strings.Join(b.Metrics, "\n") && a.Packed == b.Packed
}
