package monitor

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/weirhq/weir/internal/countergroup"
	"github.com/weirhq/weir/internal/lua"
)

// blockType is a table of TrisulPlugin that the host knows.
type blockType struct {
	name      string
	kind      string   // of the group it is attached to: fields such as "counter_guid"; "" for none
	required  bool     // one of these fields must be there
	callbacks []string // that it may define
}

var blockTypes = []blockType{
	{TypeCGMonitor, "counter", true, []string{
		"onbeginflush", "onflushfilter", "onflush", "onendflush", "onbegintopperflush", "ontopperflushfilter", "ontopperflush", "onendtopperflush",
		"onupdate", "onnewkey", "onmetronome"}},
	{TypeEngineMonitor, "", false, []string{"onbeginflush", "onendflush", "onmetronome"}},
	{TypeAlertMonitor, "alert", true, []string{"onnewalert", "onbeginflush", "flushfilter", "onflush", "onendflush", "onmetronome"}},
	{TypeSGMonitor, "session", false, []string{"onnewflow", "onupdate", "onterminate", "onbeginflush", "flushfilter", "onflush", "onendflush", "onmetronome"}},
	{TypeFlowTracker, "", false, []string{"getmetric", "onbeginflush", "onendflush", "onmetronome"}},
	{TypeMessageMonitor, "", false, []string{"onnewflowrecord", "onflowmetric", "onmetronome"}},
	{TypeResourceMonitor, "resource", true, []string{"onnewresource", "onbeginflush", "flushfilter", "onflush", "onendflush", "onmetronome"}},
	{TypeFTSMonitor, "fts", true, []string{"onnewfts", "onbeginflush", "flushfilter", "onflush", "onendflush", "onmetronome"}},
	{TypeSimpleCounter, "", false, []string{"onpacket", "onmetronome"}},
}

// definitions are blocks that say what groups there are.
var definitions = []string{"countergroup", "alertgroup", "resourcegroup"}

// unsupported are script types that a file may have and that are left out (5.9).
var unsupported = []string{
	"reassembly_handler", "filex_monitor", "packet_storage", "protocol_handler", "inputfilter", "flowmonitor", "channellistener",
	"cg_flush_monitor",
}

// defaultSession is the group an sg_monitor is attached to when it names none (5.5).
const defaultSession = "{99A78737-4B41-4387-8F31-8077DB917336}"

// prober reads what host.describe found.
type prober struct {
	host *host
	Probe
}

func (p *prober) warn(format string, args ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...))
}

func (p *prober) wrong(format string, args ...any) {
	p.Errors = append(p.Errors, fmt.Sprintf(format, args...))
}

// fail is for what makes the file unusable; the first reason stays.
func (p *prober) fail(format string, args ...any) {
	if p.Failed == "" {
		p.Failed = fmt.Sprintf(format, args...)
	}
}

// describe evaluates the file in the state of the probe (2.2, 1 and 2).
func (h *host) describe(groups *Groups) *Probe {
	p := &prober{host: h}
	if !h.plugin {
		p.Failed = h.broken
		return &p.Probe
	}
	known := &lua.Table{}
	for name, list := range map[string][]Group{
		"countergroups": groups.Counter, "alertgroups": groups.Alert, "resourcegroups": groups.Resource,
		"ftsgroups": groups.FTS, "sessiongroups": groups.Session,
	} {
		known.Set(name, titles(list))
	}
	h.out.Begin("probe")
	results, err := h.probe.patiently("describe", known)
	p.Plugin = true
	if err != nil {
		p.fail("%v", h.asScriptError(err, ""))
		return &p.Probe
	}
	p.read(results[0].(*lua.Table))
	return &p.Probe
}

func (p *prober) read(d *lua.Table) {
	if kind := d.Get("kind"); kind != "table" {
		p.fail("TrisulPlugin is a %v, not a table", kind)
		return
	}
	fields := table(d.Get("fields"))
	id, ok := d.Get("id").(*lua.Table)
	if !ok {
		p.fail("TrisulPlugin.id is missing: it is a table with name and description")
	} else if p.Name, ok = id.Get("name").(string); !ok {
		p.fail("TrisulPlugin.id.name is not a string")
	} else {
		p.Description, _ = id.Get("description").(string)
	}
	for _, name := range []string{"onload", "onunload", "onmessage"} {
		if kind := fields.Get(name); kind != nil && kind != "function" {
			p.fail("TrisulPlugin.%s is a %v, not a function", name, kind)
		}
	}
	p.subscriptions(fields, d.Get("subscriptions"))
	for _, name := range unsupported {
		if fields.Get(name) != nil {
			p.warn("script type %s is not supported", name)
		}
	}
	blocks, attach := table(d.Get("blocks")), table(d.Get("attach"))
	for _, name := range definitions {
		if kind := fields.Get(name); kind != nil && kind != "table" {
			p.fail("TrisulPlugin.%s is a %v, not a table", name, kind)
		}
		if b, ok := blocks.Get(name).(*lua.Table); ok {
			p.definition(name, b)
		}
	}
	for _, t := range blockTypes {
		if kind := fields.Get(t.name); kind != nil && kind != "table" {
			p.fail("TrisulPlugin.%s is a %v, not a table", t.name, kind)
		}
		if b, ok := blocks.Get(t.name).(*lua.Table); ok {
			p.block(t, b, table(attach.Get(t.name)))
		}
	}
	if len(p.Blocks) == 0 {
		p.Blocks = []Block{{Type: TypePlain}}
	}
}

// table is v, or an empty table.
func table(v lua.Value) *lua.Table {
	if t, ok := v.(*lua.Table); ok {
		return t
	}
	return &lua.Table{}
}

func (p *prober) subscriptions(fields *lua.Table, v lua.Value) {
	if kind := fields.Get("message_subscriptions"); kind == nil {
		return
	} else if kind != "table" {
		p.fail("TrisulPlugin.message_subscriptions is a %v, not an array of GUIDs", kind)
		return
	}
	for n, v := range table(v).Array {
		text, _ := v.(string)
		guid, err := countergroup.ParseGUID(text)
		if err != nil {
			p.wrong("message_subscriptions[%d]: %v", n+1, err)
			continue
		}
		p.Subscriptions = append(p.Subscriptions, guid)
	}
}

// block reads one that becomes instances.
func (p *prober) block(t blockType, b, attach *lua.Table) {
	out := Block{Type: t.name}
	known := append([]string{"onload", "onunload"}, t.callbacks...)
	for _, pair := range sorted(b.Hash) {
		_, function := pair.Value.(*lua.Ref)
		switch {
		case slices.Contains(known, pair.name):
			if !function {
				p.fail("%s.%s is not a function", t.name, pair.name)
			}
			out.Callbacks = append(out.Callbacks, pair.name)
		case function && (strings.HasPrefix(strings.ToLower(pair.name), "on") || slices.Contains([]string{"flushfilter", "topperflushfilter", "topperfilter"}, pair.name)):
			hint := ""
			if near := nearest(pair.name, known); near != "" {
				hint = ", is " + near + " meant?"
			}
			p.warn("%s.%s is not a callback%s: it is ignored", t.name, pair.name, hint)
		}
	}
	if t.kind != "" {
		out.Attach = p.attach(t, attach)
	}
	if t.name == TypeFlowTracker {
		out.Tracker = p.tracker(b)
	}
	if t.name == TypeSimpleCounter {
		out.Records = p.simpleCounter(b)
	}
	p.Blocks = append(p.Blocks, out)
}

// nearest is the callback that differs in case, or is contained, or has the same letters at its end.
func nearest(name string, known []string) string {
	lower := strings.ToLower(name)
	for _, k := range known {
		if k == lower || "on"+lower == k {
			return k
		}
	}
	for _, k := range known {
		if strings.HasPrefix(k, lower[:min(len(lower), 5)]) && strings.HasSuffix(k, lower[max(0, len(lower)-6):]) {
			return k
		}
	}
	return ""
}

type namedValue struct {
	name string
	lua.Pair
}

// sorted are the pairs with names, so that messages come in the same order.
func sorted(pairs []lua.Pair) []namedValue {
	var list []namedValue
	for _, pair := range pairs {
		if name, ok := pair.Key.(string); ok {
			list = append(list, namedValue{name, pair})
		}
	}
	slices.SortFunc(list, func(a, b namedValue) int { return strings.Compare(a.name, b.name) })
	return list
}

func (p *prober) attach(t blockType, a *lua.Table) *Attach {
	guids, names, regex := a.Get("guid"), a.Get("name_match"), a.Get("name_regex")
	field := func(name string) string { return t.kind + "_" + name }
	if guids == nil && names == nil && regex == nil {
		if t.required {
			p.fail("%s needs %s, %s or %s", t.name, field("guid"), field("name_match"), field("name_regex"))
			return nil
		}
		return &Attach{GUIDs: []string{defaultSession}}
	}
	out := new(Attach)
	for _, v := range table(guids).Array {
		e := readEntry(v)
		at := e.at(field("guid"))
		switch {
		case e.raised != "":
			p.fail("%s: %s", at, e.raised)
		case e.value != "":
			guid, err := countergroup.ParseGUID(e.value)
			if err != nil {
				p.wrong("%s: %v", at, err)
			} else {
				out.GUIDs = append(out.GUIDs, guid)
			}
		case e.called && e.kind == "nil": // there is no such group
		case e.called:
			p.fail("%s: the function returned a %s, not a string", at, e.kind)
		case e.kind == "string":
			p.wrong("%s is empty", at)
		default:
			p.fail("%s is a %s, not a string or a function", at, e.kind)
		}
	}
	for _, v := range table(names).Array {
		e := readEntry(v)
		at := e.at(field("name_match"))
		if e.kind != "string" || e.called {
			p.fail("%s is a %s, not a string", at, e.kind)
			continue
		}
		if e.value == "" {
			p.warn("%s is empty: it matches every group", at)
		}
		out.Names = append(out.Names, e.value)
	}
	for _, v := range table(regex).Array {
		e := readEntry(v)
		at := e.at(field("name_regex"))
		if e.kind != "string" || e.called || e.index != "" {
			p.fail("%s is a %s, not a string", field("name_regex"), cmpOr(e.index != "", "table", e.kind))
			break
		}
		if _, err := regexp.Compile(e.value); err != nil {
			p.wrong("%s: %v", at, err)
			continue
		}
		if e.value == "" {
			p.warn("%s is empty: it matches every group", at)
		}
		out.Regex, out.HasRegex = e.value, true
	}
	return out
}

func cmpOr(is bool, a, b string) string {
	if is {
		return a
	}
	return b
}

// attachEntry is one value of an attach field.
type attachEntry struct {
	index  string // in an array, "" without one
	kind   string // its type in Lua, of what a function returned
	value  string
	called bool
	raised string
}

func readEntry(v lua.Value) attachEntry {
	t := table(v)
	var e attachEntry
	if index := t.Get("index"); index != nil {
		e.index = fmt.Sprint(index)
	}
	e.kind, _ = t.Get("type").(string)
	e.called, _ = t.Get("called").(bool)
	if text, ok := t.Get("value").(string); ok {
		e.value = text
	}
	if raised, ok := t.Get("error").(*lua.Table); ok {
		e.raised, _ = raised.Get("message").(string)
		if file, ok := raised.Get("file").(string); ok && !strings.Contains(e.raised, filepath.Base(file)) {
			e.raised = fmt.Sprintf("%s:%v: %s", file, raised.Get("line"), e.raised)
		}
	}
	return e
}

func (e *attachEntry) at(field string) string {
	if e.index == "" {
		return field
	}
	return field + "[" + e.index + "]"
}

func (p *prober) tracker(b *lua.Table) *Tracker {
	control := table(b.Get("control"))
	out := &Tracker{Bucket: 60, Count: 100}
	out.Name, _ = control.Get("name").(string)
	out.Description, _ = control.Get("description").(string)
	for name, to := range map[string]*int{"bucketsize": &out.Bucket, "count": &out.Count} {
		switch n := control.Get(name).(type) {
		case nil:
		case int64:
			*to = int(n)
		default:
			p.fail("flowtracker.control.%s is not a whole number", name)
		}
		if *to <= 0 {
			p.fail("flowtracker.control.%s is %d, it must be greater than 0", name, *to)
		}
	}
	if _, ok := b.Get("getmetric").(*lua.Ref); !ok {
		p.fail("flowtracker.getmetric is missing: it is the function that ranks a flow")
	}
	return out
}

// simpleCounter reports whether the block counts records (5.8).
func (p *prober) simpleCounter(b *lua.Table) (records bool) {
	switch guid := b.Get("protocol_guid").(type) {
	case nil:
		p.fail("simplecounter needs protocol_guid")
	case string:
		if _, err := countergroup.ParseGUID(guid); err != nil {
			p.fail("simplecounter.protocol_guid: %v", err)
		} else if !slices.Contains(layerGUIDs, strings.ToUpper(guid)) {
			p.warn("simplecounter.protocol_guid %s is no protocol of packets: onpacket is never called", guid)
		}
	default:
		p.fail("simplecounter.protocol_guid is not a string")
	}
	switch v := b.Get("flow_counter").(type) {
	case nil:
	case bool:
		records = v
	default:
		p.fail("simplecounter.flow_counter is not true or false")
	}
	return records
}

// layerGUIDs are the protocols of layers, by their numbers from 1, as in packets.lua.
var layerGUIDs = []string{
	"{974FB098-DE46-45DB-94DA-8D64A3BBCDE5}", "{0A2C724B-5B9F-4BA6-9C97-B05080558574}", "{85C0CCED-DA8D-4029-924A-A6AB87F62EF8}",
	"{7DDD65F2-A316-43B5-A103-368E700E045E}", "{14D7AB53-CC51-47E9-8814-9C06AAE60189}", "{77E462AB-2E42-42EC-9A58-C1A6821D6B31}",
}

// definition reads a block that defines a group (5.1, 5.2).
func (p *prober) definition(name string, b *lua.Table) {
	control, ok := b.Get("control").(*lua.Table)
	if !ok {
		p.wrong("%s.control is missing: it is a table with guid and name", name)
		return
	}
	d := Definition{}
	text := func(field string, required bool) string {
		switch v := control.Get(field).(type) {
		case string:
			return v
		case nil:
			if required {
				p.wrong("%s.control.%s is missing", name, field)
				ok = false
			}
		default:
			p.wrong("%s.control.%s is not a string", name, field)
			ok = false
		}
		return ""
	}
	d.GUID, d.Name, d.Description = text("guid", true), text("name", true), text("description", false)
	resolver := text("resolver_guid", false)
	if ok {
		guid, err := countergroup.ParseGUID(d.GUID)
		if err != nil {
			p.wrong("%s.control.guid: %v", name, err)
			return
		}
		d.GUID = guid
	}
	switch {
	case !ok:
	case name == "alertgroup":
		p.Alert = append(p.Alert, d)
	case name == "resourcegroup":
		p.Resource = append(p.Resource, d)
	default:
		p.counterGroup(d, resolver, control, b)
	}
}

func (p *prober) counterGroup(d Definition, resolver string, control, b *lua.Table) {
	out := CounterDefinition{Definition: countergroup.Definition{GUID: d.GUID, Title: d.Name, Description: d.Description}}
	if resolver != "" {
		guid, err := countergroup.ParseGUID(resolver)
		if err != nil {
			p.wrong("countergroup.control.resolver_guid: %v", err)
			return
		}
		out.Resolver = guid
	}
	switch n := control.Get("bucketsize").(type) {
	case nil:
	case int64:
		if n <= 0 || n > 1<<31 {
			p.wrong("countergroup.control.bucketsize is %d, it must be greater than 0", n)
			return
		}
		out.Bucket = int(n)
	default:
		p.wrong("countergroup.control.bucketsize is not a whole number of seconds")
		return
	}
	meters, isTable := b.Get("meters").(*lua.Table)
	if !isTable || len(meters.Array) == 0 {
		p.wrong("countergroup.meters is missing: it is an array of rows {id, type, top, bottom, name, description, units}")
		return
	}
	for n, v := range meters.Array {
		m, err := readMeter(v)
		if err != nil {
			p.wrong("countergroup.meters[%d]: %v", n+1, err)
			return
		}
		for _, other := range out.Meters {
			if other.ID == m.ID {
				p.wrong("countergroup.meters[%d]: the id %d is there already", n+1, m.ID)
				return
			}
		}
		out.Meters = append(out.Meters, m)
	}
	slices.SortFunc(out.Meters, func(a, b countergroup.Meter) int { return a.ID - b.ID })
	for id, m := range out.Meters {
		if m.ID != id {
			p.wrong("countergroup.meters: ids count from 0 without gaps, and %d is missing", id)
			return
		}
	}
	for n, v := range table(b.Get("keyinfo")).Array {
		row := table(v).Array
		if len(row) < 2 {
			p.wrong("countergroup.keyinfo[%d] is not a row {key, label}", n+1)
			continue
		}
		out.Keys = append(out.Keys, KeyLabel{fmt.Sprint(row[0]), fmt.Sprint(row[1])})
	}
	p.Counter = append(p.Counter, out)
}

// readMeter reads a row with 7 columns, or one of the older ones with 6, without the bottom count.
func readMeter(v lua.Value) (countergroup.Meter, error) {
	row, ok := v.(*lua.Table)
	if !ok {
		return countergroup.Meter{}, fmt.Errorf("it is not a row {id, type, top, bottom, name, description, units}")
	}
	columns := columnsOf(row)
	number := func(i int, what string) (int, error) {
		n, ok := columns[i].(int64)
		if !ok {
			return 0, fmt.Errorf("column %d, the %s, is not a whole number", i, what)
		}
		return int(n), nil
	}
	m := countergroup.Meter{}
	var err error
	if m.ID, err = number(1, "id"); err != nil {
		return m, err
	}
	kind, err := number(2, "type (such as T.K.vartype.COUNTER)")
	if err != nil {
		return m, err
	}
	m.Type = countergroup.MeterType(kind)
	if !slices.Contains(countergroup.MeterTypes(), m.Type) && !(kind == 1 || kind == 3 || kind == 6 || kind == 7) {
		return m, fmt.Errorf("column 2 is %d, which is no type of meter", kind)
	}
	if m.Top, err = number(3, "top count"); err != nil {
		return m, err
	}
	at := 4
	if _, isNumber := columns[4].(int64); isNumber {
		m.Bottom, _ = number(4, "bottom count")
		at = 5
	}
	for n, to := range []*string{&m.Name, &m.Description, &m.Unit} {
		switch v := columns[at+n].(type) {
		case nil:
		case string:
			*to = v
		default:
			return m, fmt.Errorf("column %d is not a string", at+n)
		}
	}
	if m.ID < 0 || m.Top < 0 || m.Bottom < 0 {
		return m, fmt.Errorf("id, top and bottom count must not be negative")
	}
	return m, nil
}

// columnsOf are the values of a row by their number, also behind a nil.
func columnsOf(row *lua.Table) map[int]lua.Value {
	columns := make(map[int]lua.Value)
	for n, v := range row.Array {
		columns[n+1] = v
	}
	for _, pair := range row.Hash {
		if n, ok := pair.Key.(int64); ok {
			columns[int(n)] = pair.Value
		}
	}
	return columns
}
