package flow

import (
	"fmt"
	"net/netip"
	"slices"
)

// Homes are the home networks: what lies inside, section 7.1.
type Homes struct {
	prefixes []netip.Prefix // IPv4 first
	four     []homeRange
	six      []netip.Prefix
}

// homeRange is an IPv4 network: address & mask == network.
type homeRange struct{ network, mask uint32 }

// DefaultHomes are the private networks of IPv4.
var DefaultHomes = []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"}

// NewHomes reads networks such as "10.0.0.0/8", "2001:db8::/32", or a single address.
func NewHomes(networks []string) (*Homes, error) {
	h := &Homes{}
	for _, text := range networks {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			address, failed := netip.ParseAddr(text)
			if failed != nil {
				return nil, fmt.Errorf("cannot read the home network %q: it must be like \"192.168.0.0/16\" or \"2001:db8::/32\"", text)
			}
			prefix = netip.PrefixFrom(address, address.BitLen())
		}
		prefix = prefix.Masked()
		h.prefixes = append(h.prefixes, prefix)
		if !prefix.Addr().Is4() {
			h.six = append(h.six, prefix)
			continue
		}
		mask := ^uint32(0) << (32 - prefix.Bits())
		h.four = append(h.four, homeRange{number4(prefix.Addr()), mask})
	}
	slices.SortStableFunc(h.prefixes, func(a, b netip.Prefix) int { return a.Addr().BitLen() - b.Addr().BitLen() })
	return h, nil
}

func number4(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// Contains reports whether an address is inside.
func (h *Homes) Contains(a netip.Addr) bool {
	if a.Is4() {
		n := number4(a)
		for _, r := range h.four {
			if n&r.mask == r.network {
				return true
			}
		}
		return false
	}
	for _, p := range h.six {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// Prefixes are the networks, those of IPv4 first.
func (h *Homes) Prefixes() []netip.Prefix { return h.prefixes }
