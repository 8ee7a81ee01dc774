package connector

import (
	"encoding/json"
	"strconv"

	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/lua"
)

// Step is what one call of a script came to, for weir script run.
type Step struct {
	Call         string     // "load", "filter", "init", "write" or "flush"
	Event        event.Type // of filter and write
	Result       string     // "true", "false", "filtered", "skipped", "error" or "not_boolean"
	Acknowledged uint64     // number of the last event that is acknowledged
	Errors       []string   // raised
}

// MarshalJSON leaves out what does not belong to the call.
func (s Step) MarshalJSON() ([]byte, error) {
	fields := struct {
		Call         string   `json:"call"`
		Category     *int     `json:"category,omitempty"`
		Element      *int     `json:"element,omitempty"`
		Event        string   `json:"event,omitempty"`
		Result       string   `json:"result,omitempty"`
		Acknowledged *uint64  `json:"acknowledged,omitempty"`
		Errors       []string `json:"errors,omitempty"`
	}{Call: s.Call, Result: s.Result, Errors: s.Errors}
	if s.Call == "write" || s.Call == "filter" {
		category, element := s.Event.Category(), s.Event.Element()
		fields.Category, fields.Element, fields.Event = &category, &element, s.Event.Name()
	}
	if s.Call == "write" || s.Call == "flush" {
		fields.Acknowledged = &s.Acknowledged
	}
	return json.Marshal(fields)
}

// WriteOne delivers one event, the next in order, and says what came of it.
func (s *Script) WriteOne(e event.Event) (string, error) {
	first := max(s.next, 1)
	s.batches = append(s.batches, batch{first: first, data: event.AppendBatch(nil, []event.Event{e})})
	s.chunk = 1
	result, err := s.step()
	if err != nil {
		return "", err
	}
	return resultOf(&result), nil
}

// FlushOne calls flush and says what it returned: "" when the script has none.
func (s *Script) FlushOne() (string, error) {
	if !s.flushes {
		return "", nil
	}
	done, ok, err := s.flush()
	switch {
	case err != nil:
		return "", err
	case !ok:
		return "error", nil
	}
	return strconv.FormatBool(done), nil
}

// resultOf names what a dispatch of one record did.
func resultOf(r *lua.DispatchResult) string {
	switch {
	case r.True > 0:
		return "true"
	case r.False > 0:
		return "false"
	case r.Filtered > 0:
		return "filtered"
	case r.Failed > 0:
		return "error"
	case r.NotBoolean > 0:
		return "not_boolean"
	}
	return "skipped" // another generation, category or a damaged payload
}
