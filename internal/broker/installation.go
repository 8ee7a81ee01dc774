package broker

import (
	"hash/crc32"
	"strings"
)

// InstallationNumber is what events of an installation of Centreon carry as their
// destination while Weir has them: the pollers of one central server are an
// installation, and numbers of hosts mean something only inside it. The one
// without a name has number 0.
func InstallationNumber(name string) uint32 {
	if name == "" {
		return 0
	}
	return max(crc32.ChecksumIEEE([]byte(name)), 1)
}

// maxPrefixed is how many names with a prefix are kept at once.
const maxPrefixed = 200_000

// Prefix puts text before the names of hosts, so that those of several
// installations are not the same series. It is called before Of.
func (p *Points) Prefix(text string) { p.prefix, p.prefixed = text, make(map[string]string) }

// host returns the tag of a host.
func (p *Points) host(name string) string {
	if p.prefix == "" {
		return name
	}
	tag, ok := p.prefixed[name]
	if !ok {
		if len(p.prefixed) >= maxPrefixed {
			clear(p.prefixed)
		}
		tag = p.prefix + name
		p.prefixed[strings.Clone(name)] = tag
	}
	return tag
}
