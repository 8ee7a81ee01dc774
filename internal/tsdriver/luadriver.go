package tsdriver

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"reflect"

	"github.com/weirhq/weir/internal/front"
	"github.com/weirhq/weir/internal/lua"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

// luaDriver is a driver of a script as a timeseries.Driver: the script half. It calls the functions
// of section 2, and makes what the script does not have of those it has (R3). It
// belongs to the goroutine of the state.
type luaDriver struct {
	*state
	definitions *front.Definitions
	numbers     map[*timeseries.Schema]int // of schemas in the state
	byName      map[string]*timeseries.Schema

	refused, failed int      // points of the last Append
	texts           []string // of the first errors

	found []string // functions of a driver that is only looked at
}

var _ timeseries.Driver = (*luaDriver)(nil)

// maxErrors is how many errors of one batch of points are told.
const maxErrors = 3

// loadDriver runs the file of a driver and makes it. It must be closed, also after an error.
func loadDriver(setup Setup, out output, began func(*state)) (*luaDriver, error) {
	s, err := open(setup, out, func(line string) { out.Log(slog.LevelInfo, line) })
	d := &luaDriver{state: s, numbers: make(map[*timeseries.Schema]int), byName: make(map[string]*timeseries.Schema)}
	began(s)
	if err != nil {
		return d, err
	}
	d.definitions = front.NewDefinitions(setup.Definitions, s.log)
	registry := telemetry.NewRegistry()
	drivers := front.NewDrivers([]front.Target{{Name: setup.Name, Driver: d, Local: true}}, setup.Name, registry, s.log)
	s.front = front.New(d.definitions, drivers, registry, s.log)
	chunk, err := s.compile(setup.Script)
	switch {
	case err != nil:
	case setup.Inspect:
		err = d.inspect(chunk)
	default:
		_, err = s.call("load", chunk, luaValue(setup.Options))
	}
	if err != nil {
		return d, s.asScriptError(err, "cannot load the driver: ")
	}
	return d, nil
}

// inspect runs the file of a driver and notes which functions it has.
func (d *luaDriver) inspect(chunk *lua.Ref) error {
	results, err := d.call("inspect", chunk)
	if err != nil {
		return err
	}
	for _, name := range results[0].(*lua.Table).Array {
		d.found = append(d.found, fmt.Sprint(name))
	}
	return nil
}

// luaValue is a decoded value of JSON for Lua; null is nil.
func luaValue(v any) lua.Value {
	switch v := v.(type) {
	case map[string]any:
		t := &lua.Table{}
		for name, member := range v {
			t.Set(name, luaValue(member))
		}
		return t
	case []any:
		t := &lua.Table{}
		for _, entry := range v {
			t.Array = append(t.Array, luaValue(entry))
		}
		return t
	}
	return v
}

// number is that of a schema in the state, which learns of it when it is new there. Its options are
// those of the definition of the same name, if there is one.
func (d *luaDriver) number(s *timeseries.Schema) (int, error) {
	if n, ok := d.numbers[s]; ok {
		return n, nil
	}
	if len(d.numbers) >= maxNumbers {
		clear(d.numbers)
	}
	definition := front.Definition{Schema: s}
	if have := d.definitions.Lookup(s.Name); have != nil {
		definition = *have
		definition.Schema = s
	}
	form := definition.Form()
	options := make(map[string]any)
	for name, v := range form.Options {
		options[name] = v
	}
	n := len(d.numbers) + 1
	if _, err := d.call("schema", n, map[string]any{"name": form.Name, "options": luaValue(options), "_tags": form.Tags, "_metrics": form.Metrics}); err != nil {
		return 0, err
	}
	d.numbers[s] = n
	return n, nil
}

// same is the schema that has come before with the same definition, so that the state has one object for it.
func (d *luaDriver) same(s *timeseries.Schema) *timeseries.Schema {
	if have := d.byName[s.Name]; have != nil && reflect.DeepEqual(have, s) {
		return have
	}
	if len(d.byName) >= maxNumbers {
		clear(d.byName)
	}
	d.byName[s.Name] = s
	return s
}

// maxNumbers bounds the schemas in a state.
const maxNumbers = 10_000

// has reports whether the script has a function.
func (d *luaDriver) has(name string) bool {
	results, err := d.call("has", name)
	return err == nil && len(results) > 0 && results[0] == true
}

// ask calls a function of the driver and returns its first result.
func (d *luaDriver) ask(ctx context.Context, name string, args ...lua.Value) (lua.Value, error) {
	defer d.within(ctx)()
	results, err := d.call(name, args...)
	if exit := new(lua.ExitError); errors.As(err, &exit) {
		return nil, err
	}
	if err != nil {
		return nil, d.asScriptError(err, name+": ")
	}
	if len(results) == 0 {
		return nil, nil
	}
	return results[0], nil
}

// Append implements timeseries.Driver. Points that the script does not take are counted and not tried again.
func (d *luaDriver) Append(ctx context.Context, points []timeseries.Point) error {
	defer d.within(ctx)()
	d.refused, d.failed, d.texts = 0, 0, nil
	for len(points) > 0 {
		done, err := d.append(points)
		if err == nil && done == len(points) {
			break
		}
		if exit := new(lua.ExitError); errors.As(err, &exit) {
			return err
		}
		// The call was stopped at the point behind those that are done; the others are still to come.
		d.failed++
		if err != nil && len(d.texts) < maxErrors {
			d.texts = append(d.texts, d.asScriptError(err, "append: ").Error())
		}
		points = points[min(done+1, len(points)):]
	}
	n := d.refused + d.failed
	if n == 0 {
		return nil
	}
	first := errors.New("the script returned false")
	if len(d.texts) > 0 {
		first = errors.New(d.texts[0])
	}
	return &timeseries.AppendError{Refused: n, First: first}
}

// append gives points to the script in one call, and returns how many it was given.
func (d *luaDriver) append(points []timeseries.Point) (done int, err error) {
	flat := &lua.Table{Array: make([]lua.Value, 0, 8*len(points))}
	for i := range points {
		p := &points[i]
		n, err := d.number(p.Schema)
		if err != nil {
			return i, err
		}
		flat.Array = append(flat.Array, n, p.Time)
		for _, tag := range p.Tags {
			flat.Array = append(flat.Array, tag)
		}
		for _, v := range p.Values {
			flat.Array = append(flat.Array, v)
		}
	}
	_, err = d.call("append", flat, maxErrors-len(d.texts))
	progress, failed := d.call("progress")
	if failed != nil {
		return 0, errors.Join(err, failed)
	}
	d.refused += whole(progress[1])
	d.failed += whole(progress[2])
	if list, ok := progress[3].(*lua.Table); ok {
		for _, text := range list.Array {
			d.texts = append(d.texts, fmt.Sprint(text))
		}
	}
	return whole(progress[0]), err
}

func whole(v lua.Value) int {
	switch v := v.(type) {
	case int64:
		return int(v)
	case float64:
		return int(v)
	}
	return 0
}

// Setup implements timeseries.Driver.
func (d *luaDriver) Setup(ctx context.Context) error {
	if !d.has("setup") {
		return nil
	}
	v, err := d.ask(ctx, "setup")
	if err == nil && !truth(v) {
		err = errors.New("setup of the driver returned false")
	}
	return err
}

// Export implements timeseries.Driver.
func (d *luaDriver) Export(ctx context.Context) error {
	if err := d.lines.tick(false); err != nil {
		return err
	}
	if !d.has("export") {
		return nil
	}
	_, err := d.ask(ctx, "export")
	return err
}

// LatestTimestamp implements timeseries.Driver: of all interfaces the newest.
func (d *luaDriver) LatestTimestamp(ctx context.Context) (int64, error) {
	if !d.has("getLatestTimestamp") {
		return d.now().Unix(), nil
	}
	newest := int64(0)
	for _, id := range d.ids() {
		v, err := d.ask(ctx, "getLatestTimestamp", id)
		if err != nil {
			return 0, err
		}
		newest = max(newest, int64(whole(v)))
	}
	return newest, nil
}

// ids are the interfaces that what is done for each of them is done for.
func (d *luaDriver) ids() []int64 {
	if ids := d.known(); len(ids) > 0 {
		return ids
	}
	return []int64{noInterface}
}

// Delete implements timeseries.Driver.
func (d *luaDriver) Delete(ctx context.Context, prefix string, tags timeseries.Tags) error {
	if prefix == "" && len(tags) == 0 {
		return errors.New("cannot delete every series: name a schema prefix or a tag")
	}
	v, err := d.ask(ctx, "delete", prefix, tagTable(tags))
	if err == nil && !truth(v) {
		err = errors.New("delete of the driver returned false")
	}
	return err
}

// DeleteOld implements timeseries.Driver: for every interface. The script knows the retention.
func (d *luaDriver) DeleteOld(ctx context.Context, _ int64) error {
	if !d.has("deleteOldData") {
		return nil
	}
	var errs []error
	for _, id := range d.ids() {
		v, err := d.ask(ctx, "deleteOldData", id)
		if err == nil && !truth(v) {
			err = fmt.Errorf("deleteOldData of the driver returned false for the interface %d", id)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// truth is what Lua takes for true.
func truth(v lua.Value) bool { return v != nil && v != false }

func tagTable(tags timeseries.Tags) *lua.Table {
	t := &lua.Table{}
	for name, v := range tags {
		t.Set(name, v)
	}
	return t
}

// List implements timeseries.Driver.
func (d *luaDriver) List(ctx context.Context, q timeseries.ListQuery) iter.Seq2[timeseries.Tags, error] {
	return func(yield func(timeseries.Tags, error) bool) {
		all, err := d.list(ctx, q)
		if err != nil {
			yield(nil, err)
			return
		}
		for _, tags := range all {
			if !yield(tags, nil) {
				return
			}
		}
	}
}

func (d *luaDriver) list(ctx context.Context, q timeseries.ListQuery) ([]timeseries.Tags, error) {
	n, err := d.number(q.Schema)
	if err != nil {
		return nil, err
	}
	filter := make(timeseries.Tags)
	wildcards := &lua.Table{}
	for _, name := range q.Schema.Tags {
		if v, ok := q.Tags[name]; ok {
			filter[name] = v
		} else {
			wildcards.Array = append(wildcards.Array, name)
		}
	}
	var end lua.Value
	if q.End != 0 {
		end = q.End
	}
	v, err := d.ask(ctx, "listSeries", n, tagTable(filter), wildcards, q.Start, end)
	if err != nil {
		return nil, err
	}
	if v == nil || v == false {
		return nil, fmt.Errorf("cannot list %q: %w", q.Schema.Name, timeseries.ErrNoSeries)
	}
	table, ok := v.(*lua.Table)
	if !ok {
		return nil, fmt.Errorf("listSeries of the driver returned a %T, want a list of tables", v)
	}
	all := make([]timeseries.Tags, 0, len(table.Array))
	for _, entry := range table.Array {
		if tags := tagsOf(entry); tags != nil {
			all = append(all, tags)
		}
	}
	return all, nil
}

// tagsOf is a table of tags; nil for anything else.
func tagsOf(v lua.Value) timeseries.Tags {
	t, ok := v.(*lua.Table)
	if !ok {
		return nil
	}
	tags := make(timeseries.Tags, len(t.Hash))
	for _, pair := range t.Hash {
		name, ok := pair.Key.(string)
		if !ok {
			continue
		}
		if text, err := fieldText(pair.Value, false); err == nil {
			tags[name] = text
		}
	}
	return tags
}
