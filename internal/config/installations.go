package config

import (
	"slices"
	"strconv"
	"strings"

	"github.com/weirhq/weir/internal/broker"
)

// Installations are the central servers that the entries of sources.bbdo belong
// to, in order; "" is the only one that has no name.
func (c *Config) Installations() []string {
	var names []string
	for _, b := range c.Events.BBDO {
		names = append(names, b.Installation)
	}
	if len(names) == 0 {
		names = []string{""}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// checkInstallations gives each connector its installation, or says why there is none.
func (c *Config) checkInstallations(d *decoder) {
	known := c.Installations()
	numbers := make(map[uint32]string)
	for _, name := range known {
		if other, taken := numbers[broker.InstallationNumber(name)]; taken {
			d.complain("sources.bbdo", "cannot use the installations "+quote(other)+" and "+quote(name)+" together: their names have the same checksum; change one")
		}
		numbers[broker.InstallationNumber(name)] = name
	}
	for i := range c.Events.Connectors {
		s := &c.Events.Connectors[i]
		path := index("connectors", i)
		switch {
		case slices.Contains(known, s.Installation):
		case s.Installation == "" && len(known) == 1:
			s.Installation = known[0]
		case s.Installation == "":
			d.complain(path, "cannot use "+path+" without the key \"installation\": the entries of sources.bbdo belong to several, "+words(known))
		default:
			message := "cannot use " + quote(s.Installation) + " for " + path + ".installation: no entry of sources.bbdo belongs to it"
			if near := nearest(s.Installation, known); near != "" {
				message += "; did you mean " + strconv.Quote(near) + "?"
			}
			d.complain(path+".installation", message)
		}
	}
}

// words lists names, one of which may be empty.
func words(names []string) string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = strconv.Quote(name)
	}
	return strings.Join(list, ", ")
}
