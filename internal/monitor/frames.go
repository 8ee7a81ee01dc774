package monitor

import (
	"github.com/weirhq/weir/internal/countergroup"
	"github.com/weirhq/weir/internal/script"
)

// API is the name of the contract.
const API = "trisul"

// Frames between the halves. Binary payloads are in windows.go and updates.go, the others are JSON.
const (
	// Requests of the daemon.

	// KindProbe evaluates the file in the state that Setup loaded it into: Groups, answered by Probe.
	// It may be asked again whenever the groups have changed (specification 2.2, 1 and 2).
	KindProbe byte = script.FirstKind + iota
	// KindBind says which instances there shall be: Bind, answered by Bound. It may be asked again: instances
	// that are new are made, those that are not named any more are unloaded.
	KindBind
	// KindWindow is one group's window for one instance: Window. It is a request when the answer counts,
	// answered by Votes, and a frame otherwise (Observe, Flush).
	KindWindow
	// KindToppers is one meter's topper list for one instance: Toppers. As KindWindow.
	KindToppers
	// KindItems are alerts or resources for one instance, or the begin and end of none: Items. It is a request when the
	// answer counts, answered by ItemVotes, and a frame otherwise.
	KindItems
	// KindFlows are flows for one instance, see Items.frame. As KindItems.
	KindFlows
	// KindSync is answered, with nothing, when everything before it is done.
	KindSync

	// Frames of the daemon, without an answer.

	// KindSecond is what one group saw in a second, for one instance: Second.
	KindSecond
	// KindTick is the end of a second for every instance: Tick.
	KindTick
	// KindFlush begins or ends a window flush, for every engine_monitor: Flush.
	KindFlush

	// Frames of the script.

	// KindUpdates are counter updates: Updates. Whether a group and a meter exist the daemon finds out,
	// and says once per script (specification 4.2).
	KindUpdates
	// KindEffects is everything else that scripts ask for: a JSON array of Effect.
	KindEffects
	// KindState is how instances are: a JSON array of State, of those that changed, at most once a second.
	KindState

	// KindPackets are captured packets for one instance, without an answer, see packets.frame.
	KindPackets
)

// Types of script blocks that become instances. Definition blocks do not.
const (
	TypePlain           = "plain" // a file with onload, onunload or onmessage alone
	TypeCGMonitor       = "cg_monitor"
	TypeEngineMonitor   = "engine_monitor"
	TypeAlertMonitor    = "alert_monitor"
	TypeSGMonitor       = "sg_monitor"
	TypeFlowTracker     = "flowtracker"
	TypeMessageMonitor  = "messagemonitor"
	TypeResourceMonitor = "resource_monitor"
	TypeFTSMonitor      = "fts_monitor"
	TypeSimpleCounter   = "simplecounter"
)

// isFrontend reports whether a type sees what comes in, and not what groups hold. Such instances are of no engine.
func isFrontend(name string) bool { return name == TypeMessageMonitor || name == TypeSimpleCounter }

// Setup is what the script half is told first: the payload of the setup frame. The file is loaded and
// its definitions and attach specifications can be asked for with KindProbe; no callback runs yet.
type Setup struct {
	Path  string   `json:"path"`            // of the file
	Root  string   `json:"root,omitempty"`  // directory the file was found under: modules are looked for up to here; "" is the file's own
	Paths []string `json:"paths,omitempty"` // further directories of modules

	// Groups are given to a changed file, which is to take over only when it is usable with them.
	Groups *Groups `json:"groups,omitempty"`

	Env              map[string]string `json:"env,omitempty"`        // what T.env.get_config gives, by path such as "App>DBRoot"
	DomainEnv        map[string]string `json:"domain_env,omitempty"` // the same for T.env.get_domain_config
	ConfigFile       string            `json:"config_file,omitempty"`
	DomainConfigFile string            `json:"domain_config_file,omitempty"`
	ConfigPath       string            `json:"config_path,omitempty"` // T.host:get_configpath
	DataPath         string            `json:"data_path,omitempty"`   // T.host:get_datapath
	Homes            []string          `json:"homes,omitempty"`       // home networks in CIDR form, IPv4 and IPv6

	Context string `json:"context"`           // T.context_name
	ProbeID string `json:"probe_id"`          // T.probeid
	Version string `json:"version"`           // T.probeversion
	Args    string `json:"args,omitempty"`    // T.args
	Popen   bool   `json:"popen"`             // io.popen and os.execute may be used
	FFI     bool   `json:"ffi"`               // scripts may require ffi
	Call    int    `json:"call,omitempty"`    // milliseconds one callback may take; 0 is for ever
	Memory  int64  `json:"memory,omitempty"`  // bytes of one Lua state; 0 is no limit
	Workers int    `json:"workers,omitempty"` // threads of T.async at most, whatever request_async_workers says; 0 is 4
}

// Group names a group of one of the registries.
type Group struct {
	Title   string   `json:"title"`
	GUID    string   `json:"guid"` // canonical
	Aliases []string `json:"aliases,omitempty"`
}

// Groups are the registered groups, each kind in the order of registration.
type Groups struct {
	Counter  []Group `json:"counter"`
	Alert    []Group `json:"alert"`
	Resource []Group `json:"resource"`
	FTS      []Group `json:"fts"`
	Session  []Group `json:"session"`
}

// Probe is what a file is.
type Probe struct {
	Plugin      bool   `json:"plugin"` // false for a module: it leaves TrisulPlugin nil
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`

	Counter  []CounterDefinition `json:"counter,omitempty"`  // groups that it defines (5.1)
	Alert    []Definition        `json:"alert,omitempty"`    // 5.2
	Resource []Definition        `json:"resource,omitempty"` // 5.2

	Blocks        []Block  `json:"blocks,omitempty"` // that become instances; one of TypePlain when there are no others
	Subscriptions []string `json:"subscriptions,omitempty"`

	Warnings []string `json:"warnings,omitempty"` // the file is used; lines for the log
	Errors   []string `json:"errors,omitempty"`   // parts of it, such as one entry of an array, are not used
	Failed   string   `json:"failed,omitempty"`   // the file cannot be used (section 9): why. Definitions may still be there
}

// CounterDefinition is a countergroup block.
type CounterDefinition struct {
	countergroup.Definition
	Keys []KeyLabel `json:"keys,omitempty"`
}

// KeyLabel is an entry of keyinfo.
type KeyLabel struct {
	Key   string `json:"key"`
	Label string `json:"label"`
}

// Definition is an alertgroup or resourcegroup block.
type Definition struct {
	GUID        string `json:"guid"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
}

// Block is a part of a file that becomes instances.
type Block struct {
	Type      string   `json:"type"`
	Attach    *Attach  `json:"attach,omitempty"`    // of types that are bound to a group
	Callbacks []string `json:"callbacks,omitempty"` // that are defined, such as "onflush"
	Tracker   *Tracker `json:"tracker,omitempty"`   // of a flowtracker
	Records   bool     `json:"records,omitempty"`   // a simplecounter that counts records, not packets
}

// Attach says which groups a block is for: the union of three ways to name them (2.2). A GUID that a
// function returned counts as listed. What cannot be used is not in it, but in Probe.Errors.
type Attach struct {
	GUIDs    []string `json:"guids,omitempty"` // canonical, in the order listed
	Names    []string `json:"names,omitempty"` // parts of titles, in any case; "" matches every one
	Regex    string   `json:"regex,omitempty"` // RE2 pattern that is searched in titles
	HasRegex bool     `json:"has_regex,omitempty"`
}

// Tracker is the control table of a flowtracker (5.5).
type Tracker struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Bucket      int    `json:"bucket"` // seconds
	Count       int    `json:"count"`  // flows that are kept per bucket
}

// Bind says which instances there shall be.
type Bind struct {
	Groups    Groups     `json:"groups"` // what T.countergroups and the others show new instances
	Instances []Instance `json:"instances"`
}

// Instance is one Lua state to be.
type Instance struct {
	Index   int    `json:"index"` // names it in every frame; never used again for another one
	Type    string `json:"type"`
	Context int64  `json:"context"` // T.contextid
	Engine  int    `json:"engine"`  // T.backend_engineid
	GUID    string `json:"guid,omitempty"`
	Title   string `json:"title,omitempty"`  // of the bound group
	Meters  int    `json:"meters,omitempty"` // of the bound counter group
}

// Bound answers Bind: every instance there is, by index.
type Bound struct {
	Instances []Started `json:"instances"`
}

// Started is how an instance came up.
type Started struct {
	Index     int      `json:"index"`
	Running   bool     `json:"running"`
	Reason    string   `json:"reason,omitempty"` // why not, for people
	Failed    bool     `json:"failed,omitempty"` // an error, not a decision of onload
	Callbacks []string `json:"callbacks,omitempty"`
}

// State is how an instance fares. Counts are since it was made.
type State struct {
	Index     int      `json:"index"`
	Calls     int64    `json:"calls"` // of callbacks
	Errors    int64    `json:"errors"`
	LastError string   `json:"last_error,omitempty"`
	Disabled  []string `json:"disabled,omitempty"`   // callbacks that failed too often in a row
	Reason    string   `json:"reason,omitempty"`     // why it does not run any more, "" while it does
	Memory    int64    `json:"memory"`               // bytes of its Lua state
	NotFinite int64    `json:"not_finite,omitempty"` // updates with NaN or an infinite value, which were dropped (4.2)
}

// Tick is the end of the second before Time.
type Tick struct {
	Time     int64     `json:"time"`
	Messages []Message `json:"messages,omitempty"` // delivered first

	// MessagesOnly is for a tick before the seconds of groups: onmetronome comes with another one after them (2.3).
	MessagesOnly bool `json:"messages_only,omitempty"`
}

// Message is for every instance of a half except the one that sent it (3.5).
type Message struct {
	ID       string `json:"id,omitempty"` // canonical GUID, "" for none
	Text     []byte `json:"text"`
	Frontend bool   `json:"frontend,omitempty"` // it is for that half, not the backend
	From     int    `json:"from"`               // index of the sender when it is of this process, else -1
}

// Flush begins or ends a window flush.
type Flush struct {
	Time int64 `json:"time"`
	End  bool  `json:"end"`
}

// Effect is one thing a script asked for. Op says what, and with it which members count. Byte strings of
// scripts that are no UTF-8 arrive with replacement characters, keys excepted.
type Effect struct {
	Op       string `json:"op"`
	Instance int    `json:"instance"`

	GUID string `json:"guid,omitempty"` // canonical
	Key  []byte `json:"key,omitempty"`

	Name  string `json:"name,omitempty"`
	Value string `json:"value,omitempty"`
	Label string `json:"label,omitempty"`
	Text  string `json:"text,omitempty"`

	Flow        string    `json:"flow,omitempty"` // key of a flow, "" for none
	Alert       *Alert    `json:"alert,omitempty"`
	Message     *Message  `json:"message,omitempty"`
	ToGUID      string    `json:"to_guid,omitempty"`
	ToKey       []byte    `json:"to_key,omitempty"`
	Meter       int       `json:"meter,omitempty"`
	Direction   int       `json:"direction,omitempty"`
	Number      float64   `json:"number,omitempty"`
	Numbers     []float64 `json:"numbers,omitempty"`
	Description string    `json:"description,omitempty"`
}

// Effects of scripts: values of Effect.Op.
const (
	OpLabel         = "label"          // GUID, Key, Label, Description: update_key_info, T.host:createkey
	OpAttribute     = "attribute"      // GUID, Key, Name, Value: set_key_attribute
	OpAlert         = "alert"          // Alert
	OpResource      = "resource"       // GUID, Flow, Name (the URI), Text (contents): add_resource
	OpTag           = "tag"            // Flow, Text: tag_flow, add_tag
	OpFlowAttribute = "flow_attribute" // Flow, Name, Value
	OpMessage       = "message"        // Message
	OpEdge          = "edge"           // GUID, Key, ToGUID, ToKey
	OpFlowEdges     = "flow_edges"     // Flow, GUID, Key: 8 edges
	OpFlowCounter   = "flow_counter"   // Flow, GUID, Key, Meter, Direction: later packets of the flow update it
	OpResetCounter  = "reset_counter"  // Flow, GUID: undoes OpFlowCounter
	OpFlowUpdate    = "flow_update"    // Flow, Meter, Number
	OpFlowRecord    = "flow_record"    // Flow, Numbers (bytes az, za, packets az, za): new_flow_record
	OpFlowDuration  = "flow_duration"  // Flow, Number (seconds)
)

// Alert is an alert that a script added, or one that an alert_monitor is shown (4.3, 5.4).
type Alert struct {
	GUID           string  `json:"guid,omitempty"` // of the alert group, canonical
	Time           float64 `json:"time,omitempty"` // seconds with a fraction
	Flow           string  `json:"flow,omitempty"` // key as it was given, "" for none
	SigID          string  `json:"sigid,omitempty"`
	Classification string  `json:"classification,omitempty"`
	Priority       int     `json:"priority"`
	Status         string  `json:"status,omitempty"`
	Message        string  `json:"message,omitempty"`
	ExtraMessage   string  `json:"extra_message,omitempty"`
	Ack            int     `json:"ack,omitempty"`
}

// Events of Items: which callback they are for.
const (
	EventNew       = "new"       // onnewalert, onnewflow, onnewresource, onnewfts; onnewflowrecord of a messagemonitor
	EventUpdate    = "update"    // onupdate of an sg_monitor
	EventTerminate = "terminate" // onterminate
	EventFilter    = "filter"    // flushfilter; getmetric of a flowtracker
	EventFlush     = "flush"     // onflush
	EventDecide    = "decide"    // EventFilter, and EventFlush for those it says yes to
)

// Items are alerts, flows or resources for one instance. Begin and End add onbeginflush before and
// onendflush after them, also when there are none.
type Items struct {
	Instance  int        `json:"instance"`
	Event     string     `json:"event"`
	Time      int64      `json:"time"`
	Begin     bool       `json:"begin,omitempty"`
	End       bool       `json:"end,omitempty"`
	Alerts    []Alert    `json:"alerts,omitempty"`
	Flows     []Flow     `json:"-"`
	Resources []Resource `json:"resources,omitempty"`
}

// Flow is a flow an sg_monitor, a flowtracker or a messagemonitor is shown (5.5, 5.6). The
// script half takes its key apart.
type Flow struct {
	Key                  string // flow key (6.1)
	Start, Last          int64  // Unix seconds
	State                int
	BytesAZ, BytesZA     float64
	PacketsAZ, PacketsZA float64
	PayloadAZ, PayloadZA float64
	Tags                 string            // separated by |
	Attributes           map[string]string // of add_flow_attribute
	SetupRTT             float64           // microseconds
	Retransmissions      float64
}

// Resource is an entry of a resource group, or a document of an fts group, that a monitor is shown (5.7).
type Resource struct {
	GUID  string  `json:"guid,omitempty"`
	Time  float64 `json:"time"`
	Flow  string  `json:"flow,omitempty"`
	URI   string  `json:"uri,omitempty"`
	Label string  `json:"label,omitempty"` // the contents of add_resource
	Key   string  `json:"key,omitempty"`
}

// ItemVotes answers Items.
type ItemVotes struct {
	Pass    []bool    `json:"pass,omitempty"`  // of EventFilter and EventDecide, one per item
	Ranks   []float64 `json:"ranks,omitempty"` // of a flowtracker, one per flow; 0 is of no interest
	Changed []Change  `json:"changed,omitempty"`
}

// Change is what a callback changed in an item. Members that are nil are as they were.
type Change struct {
	Item         int     `json:"item"`
	Priority     *int    `json:"priority,omitempty"`
	Message      *string `json:"message,omitempty"`
	ExtraMessage *string `json:"extra_message,omitempty"`
	URI          *string `json:"uri,omitempty"`
	Label        *string `json:"label,omitempty"`
}
