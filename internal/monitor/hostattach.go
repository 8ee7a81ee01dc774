package monitor

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// match resolves what a script wants to be attached to, section 2.2: first its GUIDs in their order, then the names, then the
// expression, each in the order in which groups were registered, no group twice. notes say what could not be used or found.
func match(want Attach, groups []Group) (matched []Group, notes []string) {
	taken := make(map[string]bool)
	add := func(g Group) {
		if !taken[g.GUID] {
			taken[g.GUID] = true
			matched = append(matched, g)
		}
	}
	for _, guid := range want.GUIDs {
		found := false
		for _, g := range groups {
			if strings.EqualFold(g.GUID, guid) || slices.ContainsFunc(g.Aliases, func(alias string) bool { return strings.EqualFold(alias, guid) }) {
				add(g)
				found = true
			}
		}
		if !found {
			notes = append(notes, "no group has the GUID "+guid)
		}
	}
	for _, name := range want.Names {
		if name == "" {
			notes = append(notes, "an empty name matches every group")
		}
		for _, g := range groups {
			if strings.Contains(strings.ToLower(g.Title), strings.ToLower(name)) {
				add(g)
			}
		}
	}
	if want.HasRegex {
		if want.Regex == "" {
			notes = append(notes, "an empty regular expression matches every group")
		}
		re, err := regexp.Compile(want.Regex)
		if err != nil {
			return matched, append(notes, fmt.Sprintf("the regular expression %q cannot be used: %v", want.Regex, err))
		}
		for _, g := range groups {
			if re.MatchString(g.Title) {
				add(g)
			}
		}
	}
	return matched, notes
}
