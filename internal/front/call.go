package front

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/weirhq/weir/timeseries"
)

// Reply is the answer to a Call. Without an error Value is what the function
// returns; with one it is left out, and the script sees nil or false.
type Reply struct {
	Value any    `json:"value,omitempty"`
	Code  string `json:"code,omitempty"`  // what kind of error: one of the codes
	Error string `json:"error,omitempty"` // for the log of the script
}

// The codes of a Reply.
const (
	CodeUnknownSchema = "unknown_schema" // nil without a word in the log
	CodeNoSeries      = "no_series"      // likewise
	CodeBadRange      = "bad_range"      // likewise
	CodeMissingTag    = "missing_tag"
	CodeTooMuch       = "too_much"
	CodeTooSlow       = "OPERATION_TOO_SLOW" // which getLastError returns
	CodeBadCall       = "bad_call"           // the function or its arguments
	CodeFailed        = "failed"
)

// CodeOf is the code of an error of a Front.
func CodeOf(err error) string {
	var tag *MissingTagError
	switch {
	case errors.As(err, &tag):
		return CodeMissingTag
	case errors.Is(err, timeseries.ErrUnknownSchema):
		return CodeUnknownSchema
	case errors.Is(err, timeseries.ErrNoSeries):
		return CodeNoSeries
	case errors.Is(err, timeseries.ErrBadRange):
		return CodeBadRange
	case errors.Is(err, ErrTooMuch):
		return CodeTooMuch
	case errors.Is(err, context.DeadlineExceeded):
		return CodeTooSlow
	}
	return CodeFailed
}

// errBadCall is the error of calls whose function or arguments are not known.
var errBadCall = errors.New("bad call")

// functions are those that cross to scripts, by the name ts_utils has for them. The
// arguments are one JSON value each:
//
//	append                     list of Sample -> list of Refusal, empty when all were taken
//	query                      Question -> Answer; statistics of gauges have a total
//	timeseries_query           Question -> Answer
//	timeseries_query_top       Question -> Answer with a line per item
//	queryTopk                  Question -> Answer with topk, and lines when with_series is set
//	queryTotal, queryMean      Question -> number by metric
//	queryLastValues            Question -> list of numbers by metric
//	listSeries                 ListQuestion -> list of tags
//	batchListSeries            list of ListQuestion -> list of lists; null where nothing matches
//	exists                     ListQuestion -> true or false
//	delete                     {"prefix", "tags"} -> true
//	deleteOldData, setup, export    nothing -> true
//	getLatestTimestamp         nothing -> Unix seconds
//	newSchema                  Form -> Form that counts from now on
//	getSchema                  {"name", "adjustments"} -> Form
//	getLoadedSchemas           {"adjustments"} -> list of Form, by name
//	getPossiblyChangedSchemas  nothing -> list of names
//	listActiveDrivers          nothing -> list of {"name", "reads", "failure"}
var functions = map[string]func(*Front, context.Context, []byte) (any, error){
	"append": decoded(func(f *Front, ctx context.Context, samples []Sample) (any, error) {
		refused := f.Append(ctx, samples)
		if refused == nil {
			refused = []Refusal{}
		}
		return refused, nil
	}),
	"query": decoded(func(f *Front, ctx context.Context, q Question) (any, error) {
		q.Options.KeepTotal = true
		return f.Query(ctx, q)
	}),
	"timeseries_query":     decoded(func(f *Front, ctx context.Context, q Question) (any, error) { return f.Query(ctx, q) }),
	"timeseries_query_top": decoded(func(f *Front, ctx context.Context, q Question) (any, error) { return f.Query(ctx, q.forTop()) }),
	"queryTopk": decoded(func(f *Front, ctx context.Context, q Question) (any, error) {
		q.Options.KeepTotal = true
		a, err := f.Query(ctx, q.forTop())
		if err == nil && !q.Options.WithSeries && a.TopK != nil {
			a.Series = []Line{}
		}
		return a, err
	}),
	"queryTotal":      decoded(func(f *Front, ctx context.Context, q Question) (any, error) { return f.Total(ctx, q) }),
	"queryMean":       decoded(func(f *Front, ctx context.Context, q Question) (any, error) { return f.Mean(ctx, q) }),
	"queryLastValues": decoded(func(f *Front, ctx context.Context, q Question) (any, error) { return f.LastValues(ctx, q) }),
	"listSeries":      decoded(func(f *Front, ctx context.Context, q ListQuestion) (any, error) { return f.List(ctx, q) }),
	"batchListSeries": decoded(func(f *Front, ctx context.Context, batch []ListQuestion) (any, error) {
		lists := make([][]timeseries.Tags, len(batch))
		for i, q := range batch {
			list, err := f.List(ctx, q)
			if code := CodeOf(err); err != nil && code != CodeNoSeries && code != CodeUnknownSchema {
				return nil, err
			}
			lists[i] = list
		}
		return lists, nil
	}),
	"exists": decoded(func(f *Front, ctx context.Context, q ListQuestion) (any, error) { return f.Exists(ctx, q) }),
	"delete": decoded(func(f *Front, ctx context.Context, what struct {
		Prefix string    `json:"prefix"`
		Tags   looseTags `json:"tags"`
	}) (any, error) {
		return true, f.Delete(ctx, what.Prefix, timeseries.Tags(what.Tags))
	}),
	"deleteOldData":      func(f *Front, ctx context.Context, _ []byte) (any, error) { return true, f.DeleteOld(ctx) },
	"setup":              func(f *Front, ctx context.Context, _ []byte) (any, error) { return true, f.Setup(ctx) },
	"export":             func(f *Front, ctx context.Context, _ []byte) (any, error) { return true, f.Export(ctx) },
	"getLatestTimestamp": func(f *Front, ctx context.Context, _ []byte) (any, error) { return f.Latest(ctx) },
	"newSchema": decoded(func(f *Front, _ context.Context, form Form) (any, error) {
		d, err := form.Definition()
		if err != nil {
			return nil, err
		}
		if f.definitions.full() && f.definitions.Lookup(form.Name) == nil {
			return nil, fmt.Errorf("cannot declare schema %.300q: there are %d already", form.Name, maxDefinitions)
		}
		return f.definitions.Define(d).Form(), nil
	}),
	"getSchema": decoded(func(f *Front, _ context.Context, which struct {
		Name        string      `json:"name"`
		Adjustments Adjustments `json:"adjustments"`
	}) (any, error) {
		d := f.definitions.Lookup(which.Name)
		if d == nil {
			return nil, fmt.Errorf("%w %.300q", timeseries.ErrUnknownSchema, which.Name)
		}
		return d.Adjusted(which.Adjustments).Form(), nil
	}),
	"getLoadedSchemas": decoded(func(f *Front, _ context.Context, which struct {
		Adjustments Adjustments `json:"adjustments"`
	}) (any, error) {
		forms := []Form{}
		for _, d := range f.definitions.All() {
			forms = append(forms, d.Adjusted(which.Adjustments).Form())
		}
		return forms, nil
	}),
	"getPossiblyChangedSchemas": func(f *Front, ctx context.Context, _ []byte) (any, error) { return f.Changed(ctx) },
	"listActiveDrivers": func(f *Front, _ context.Context, _ []byte) (any, error) {
		type driver struct {
			Name    string `json:"name"`
			Reads   bool   `json:"reads"`
			Failure string `json:"failure,omitempty"`
		}
		list := []driver{}
		for _, status := range f.drivers.Status() {
			one := driver{Name: status.Name, Reads: status.Reads}
			if status.Failure != nil {
				one.Failure = status.Failure.Error()
			}
			list = append(list, one)
		}
		return list, nil
	},
}

// Functions are the names that Call knows, sorted.
func Functions() []string { return slices.Sorted(maps.Keys(functions)) }

// decoded reads the arguments of a function.
func decoded[T any](call func(*Front, context.Context, T) (any, error)) func(*Front, context.Context, []byte) (any, error) {
	return func(f *Front, ctx context.Context, arguments []byte) (any, error) {
		var of T
		if len(arguments) > 0 {
			if err := json.Unmarshal(arguments, &of); err != nil {
				return nil, fmt.Errorf("%w: %w", errBadCall, err)
			}
		}
		return call(f, ctx, of)
	}
}

// Call calls a function by its name with its arguments as JSON, and returns a Reply as
// JSON. ctx bounds it in time.
func (f *Front) Call(ctx context.Context, function string, arguments []byte) []byte {
	var value any
	err := fmt.Errorf("%w: there is no function %.100q", errBadCall, function)
	if call := functions[function]; call != nil {
		value, err = call(f, ctx, arguments)
	}
	reply := Reply{Value: value}
	if err != nil {
		reply = Reply{Code: CodeOf(err), Error: err.Error()}
		if errors.Is(err, errBadCall) {
			reply.Code = CodeBadCall
		}
	}
	text, err := json.Marshal(reply)
	if err != nil {
		panic("BUG: a reply cannot be JSON: " + err.Error())
	}
	return text
}

// Changed are the names of the declared schemas that the driver that answers holds in
// another form (getPossiblyChangedSchemas), sorted.
func (f *Front) Changed(ctx context.Context) ([]string, error) {
	stored, err := f.drivers.Schemas(ctx)
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, s := range stored {
		d := f.definitions.Lookup(s.Name)
		if d != nil && (d.insertionStep() != s.Step && d.Schema.Step != s.Step || d.Schema.Type != s.Type ||
			!slices.Equal(d.Schema.Tags, s.Tags) || !slices.Equal(d.Schema.Metrics, s.Metrics)) {
			names = append(names, s.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}
