package netflow

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/bot"
)

// entity is a device that exports.
type entity struct {
	prefix string // entity.311 or target.NAME
	at     netip.Addr
}

// directionNames are in paths.
var directionNames = [2]string{ingress: "ingress", egress: "egress"}

// directions are in the order of the values.
var directions = [2]int{egress, ingress}

// values are those of a window, in the order of section 5.4.
func values(label string, entities []entity, of content) []collector.Value {
	var all []collector.Value
	add := func(path string, bytes uint64) { all = append(all, collector.Value{Path: path, Value: float64(bytes)}) }
	var sums [2]uint64
	for _, e := range entities {
		for _, d := range directions {
			s := &of.of(e.at)[d]
			prefix := "netflow." + label + "." + directionNames[d] + "." + e.prefix
			for _, ifindex := range s.shown() {
				add(interfacePath(prefix, ifindex), s.interfaces.bytes[ifindex])
			}
			add(prefix, s.bytes)
			sums[d] += s.bytes
		}
	}
	for _, d := range directions {
		add("netflow."+label+"."+directionNames[d], sums[d])
	}
	for _, e := range entities {
		for _, d := range directions {
			s := &of.of(e.at)[d]
			prefix := "netflow." + label + "." + directionNames[d] + "." + e.prefix
			list := func(prefix string, items []item) {
				for _, i := range items {
					add(prefix+"."+i.name, i.bytes)
				}
			}
			both := func(kind string, whole []item, parts []part) {
				list(prefix+"."+kind, whole)
				for _, p := range parts {
					list(interfacePath(prefix, p.ifindex)+"."+kind, p.items)
				}
			}
			shown := s.shown()
			whole, parts := ranked(&s.ips, shown, func(a address) string { return bot.Segment(a.String()) })
			both("topip", whole, parts)
			whole, parts = ranked(&s.protocols, shown, protocolName)
			both("topprotocol", whole, parts)
			list(prefix+".topconn", rank(s.pairs.bytes, func(p pair) string { return bot.Segment(p.Source.String()) + "." + bot.Segment(p.Destination.String()) }))
			list(prefix+".topdstports", rank(s.ports.bytes, func(port uint16) string { return strconv.Itoa(int(port)) }))
		}
	}
	return all
}

func interfacePath(prefix string, ifindex uint32) string {
	return prefix + ".if." + strconv.FormatUint(uint64(ifindex), 10)
}

// part is the ranking of one interface.
type part struct {
	ifindex uint32
	items   []item
}

// maxInterfaces bounds the interfaces that are shown of a device: an index is what an exporter says it is.
const maxInterfaces = 1024

// shown are the interfaces with the most bytes, in the order of their indices.
func (s *summary) shown() []uint32 {
	of := s.interfaces.bytes
	all := slices.SortedFunc(maps.Keys(of), func(a, b uint32) int { return cmp.Or(cmp.Compare(of[b], of[a]), cmp.Compare(a, b)) })
	all = all[:min(len(all), maxInterfaces)]
	slices.Sort(all)
	return all
}

// ranked is the top of all interfaces together, and of each one that is shown.
func ranked[K comparable](t *table[onInterface[K]], shown []uint32, name func(K) string) (whole []item, parts []part) {
	together, each := make(map[K]uint64), make(map[uint32]map[K]uint64)
	for _, ifindex := range shown {
		each[ifindex] = make(map[K]uint64)
	}
	for key, bytes := range t.bytes {
		together[key.Of] += bytes
		if of := each[key.Ifindex]; of != nil {
			of[key.Of] += bytes
		}
	}
	for _, ifindex := range shown {
		parts = append(parts, part{ifindex, rank(each[ifindex], name)})
	}
	return rank(together, name), parts
}
