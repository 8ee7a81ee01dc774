package bbdo

import (
	"fmt"
	"strings"

	"github.com/weirhq/weir/internal/event"
)

// Control messages: category 2. They are consumed here, never handed on, and not
// counted for acknowledgements.
const (
	control             = 2
	versionResponse     = event.Type(control<<16 | 1)
	legacyAck           = event.Type(control<<16 | 2)
	legacyStop          = event.Type(control<<16 | 3)
	welcome             = event.Type(control<<16 | 7)
	protobufAck         = event.Type(control<<16 | 8)
	protobufStop        = event.Type(control<<16 | 9)
	engineConfiguration = event.Type(control<<16 | 10)
)

// PeerType is what kind of program a peer is.
type PeerType int

// What welcome messages say. Pollers before 3.0.1 say nothing.
const (
	UnknownPeer PeerType = iota
	Broker
	Engine
	Map
)

func (t PeerType) String() string {
	switch t {
	case Broker:
		return "broker"
	case Engine:
		return "engine"
	case Map:
		return "map"
	}
	return "unknown"
}

// Identity is what a peer says about itself. The number may be 0 and the names
// empty, and nothing guarantees that they are unique.
type Identity struct {
	PollerID   uint64
	PollerName string
	BrokerName string
	PeerType   PeerType
}

// greeting is the first packet of either side.
type greeting struct {
	kind       event.Type // versionResponse or welcome
	version    Version
	extensions []string
	identity   Identity // only in a welcome
}

// event encodes the greeting.
func (g greeting) event() event.Event {
	r := event.NewRecord(event.Lookup(g.kind))
	r.Set("extensions", event.TextValue([]byte(strings.Join(g.extensions, " "))))
	major, minor, patch := event.IntValue(int64(g.version.Major)), event.IntValue(int64(g.version.Minor)), event.IntValue(int64(g.version.Patch))
	if g.kind == versionResponse {
		r.Set("major", major)
		r.Set("minor", minor)
		r.Set("patch", patch)
		return r.Encode()
	}
	version := event.NewRecord(r.Descriptor.Field("version").Message)
	version.Set("major", major)
	version.Set("minor", minor)
	version.Set("patch", patch)
	r.Set("version", event.MessageValue(version))
	g.identity.set(r)
	return r.Encode()
}

// set fills the members that a welcome and an engine configuration share.
func (i Identity) set(r *event.Record) {
	r.Set("poller_id", event.IntValue(int64(i.PollerID)))
	r.Set("poller_name", event.TextValue([]byte(i.PollerName)))
	r.Set("broker_name", event.TextValue([]byte(i.BrokerName)))
	r.Set("peer_type", event.IntValue(int64(i.PeerType)))
}

// parseGreeting reads the first packet of the peer.
func parseGreeting(e event.Event) (greeting, error) {
	if e.Type != versionResponse && e.Type != welcome {
		return greeting{}, fmt.Errorf("BBDO: invalid protocol header, aborting connection: waiting for message of type 'pb_welcome' but received %v", e.Type)
	}
	r, err := event.Decode(e)
	if err != nil {
		return greeting{}, fmt.Errorf("BBDO: invalid protocol header, aborting connection: %w", err)
	}
	g := greeting{kind: e.Type, extensions: strings.Fields(strings.ToUpper(string(r.Get("extensions").Text())))}
	version := r
	if e.Type == welcome {
		version = r.Get("version").Message()
		g.identity = Identity{
			PollerID: uint64(r.Get("poller_id").Int()), PollerName: string(r.Get("poller_name").Text()),
			BrokerName: string(r.Get("broker_name").Text()), PeerType: PeerType(r.Get("peer_type").Int()),
		}
	}
	if version != nil {
		g.version = Version{int(version.Get("major").Int()), int(version.Get("minor").Int()), int(version.Get("patch").Int())}
	}
	return g, nil
}

// ackEvent acknowledges n more events, in the form a session of this version has.
func ackEvent(v Version, n int64) event.Event {
	typ := protobufAck
	if v.before(V301) {
		typ = legacyAck
	}
	r := event.NewRecord(event.Lookup(typ))
	r.Set("acknowledged_events", event.IntValue(n))
	return r.Encode()
}

// parseAck returns the number in an acknowledgement of either form.
func parseAck(e event.Event) (n int64, ok bool) {
	if e.Type != legacyAck && e.Type != protobufAck {
		return 0, false
	}
	return e.Int(event.Lookup(e.Type).Field("acknowledged_events"))
}

// stopEvent ends a session. Current senders use this form in every version.
func stopEvent(pollerID uint64) event.Event {
	r := event.NewRecord(event.Lookup(protobufStop))
	r.Set("poller_id", event.IntValue(int64(pollerID)))
	return r.Encode()
}

// engineConfigurationEvent is the answer to an engine that asks whether its
// configuration is up to date: it is.
func engineConfigurationEvent(i Identity) event.Event {
	r := event.NewRecord(event.Lookup(engineConfiguration))
	i.set(r)
	return r.Encode()
}
