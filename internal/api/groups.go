package api

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/weirhq/weir/internal/countergroup"
	"github.com/weirhq/weir/internal/flow"
)

// Groups are the counter groups: a [countergroup.Engine].
type Groups interface {
	Stats() []countergroup.Stats
	Top(g *countergroup.Group, meter, n int) countergroup.Table
}

var topParameters = []string{"meter", "n"}

const defaultTop = 20

// GroupList is the answer of /api/v1/groups.
type GroupList struct {
	Groups []Group `json:"groups"`
}

// Group is one counter group.
type Group struct {
	Title        string  `json:"title"`
	GUID         string  `json:"guid"`
	Description  string  `json:"description,omitempty"`
	Bucket       int     `json:"bucket"`        // seconds
	TopperBucket int     `json:"topper_bucket"` // seconds
	Keys         int     `json:"keys"`          // held
	Meters       []Meter `json:"meters"`
}

// Meter is one meter of a counter group.
type Meter struct {
	ID   int    `json:"id"`
	Name string `json:"name"`
	Type string `json:"type"`
	Unit string `json:"unit,omitempty"`
	Top  int    `json:"top"` // keys on its topper list; 0 for none
}

// GroupTop is the answer of /api/v1/groups/{group}/top: the keys with the largest values in the bucket that has begun.
type GroupTop struct {
	Group
	Meter   int       `json:"meter"`   // by which keys are largest
	Start   int64     `json:"start"`   // of the bucket
	Seconds int64     `json:"seconds"` // of it that have passed, over which rates are
	Active  int       `json:"active"`  // keys updated in it
	Items   []TopItem `json:"items"`   // the largest first
	Totals  []float64 `json:"totals"`  // over all keys, by meter
}

// TopItem is one key with a value per meter.
type TopItem struct {
	Key    string    `json:"key"`
	Label  string    `json:"label,omitempty"`
	Values []float64 `json:"values"`
}

func (s *server) groups(w http.ResponseWriter, _ *http.Request, _ *parameters) error {
	answer := GroupList{Groups: []Group{}}
	for _, stats := range s.Groups.Stats() {
		answer.Groups = append(answer.Groups, describeGroup(stats))
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

func describeGroup(s countergroup.Stats) Group {
	g := Group{Title: s.Group.Title, GUID: s.Group.GUID, Description: s.Group.Description, Bucket: s.Bucket, TopperBucket: s.TopperBucket, Keys: s.Keys}
	for _, m := range s.Group.Meters {
		g.Meters = append(g.Meters, Meter{m.ID, m.Name, m.Type.String(), m.Unit, m.Top})
	}
	return g
}

func (s *server) groupTop(w http.ResponseWriter, r *http.Request, p *parameters) error {
	all := s.Groups.Stats()
	found, err := findGroup(all, r.PathValue("group"))
	if err != nil {
		return err
	}
	meter, n := p.meter(found.Group), p.int("n", defaultTop, 1, maxTop)
	if p.err != nil {
		return p.err
	}
	labels := found.Group
	for _, other := range all {
		if other.Group.GUID == found.Group.Resolver {
			labels = other.Group
		}
	}
	table := s.Groups.Top(found.Group, meter, n)
	answer := GroupTop{Group: describeGroup(found), Meter: meter, Start: table.Start, Seconds: table.Seconds, Active: table.Keys, Items: []TopItem{}, Totals: table.Totals}
	for _, row := range table.Rows {
		item := TopItem{Key: row.Key, Values: row.Values}
		if info, known := labels.Info(row.Key); known && info.Label != "" {
			item.Label = info.Label
		} else {
			item.Label = flow.Readable(row.Key)
		}
		answer.Items = append(answer.Items, item)
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// findGroup finds a group by its title or GUID, in any case.
func findGroup(all []countergroup.Stats, name string) (countergroup.Stats, error) {
	var titles []string
	for _, s := range all {
		if strings.EqualFold(s.Group.Title, name) || strings.EqualFold(s.Group.GUID, name) {
			return s, nil
		}
		for _, alias := range s.Group.Aliases {
			if strings.EqualFold(alias, name) {
				return s, nil
			}
		}
		titles = append(titles, s.Group.Title)
	}
	return countergroup.Stats{}, &Error{http.StatusNotFound, "unknown_group", fmt.Sprintf("there is no counter group %.100q%s", name, suggest(name, titles, "there are none"))}
}

// meter reads the name or the number of a meter of g, 0 when it is not there.
func (p *parameters) meter(g *countergroup.Group) int {
	text := p.get("meter")
	if text == "" {
		return 0
	}
	if n, err := strconv.Atoi(text); err == nil && n >= 0 && n < len(g.Meters) {
		return n
	}
	var names []string
	for _, m := range g.Meters {
		if strings.EqualFold(m.Name, text) {
			return m.ID
		}
		names = append(names, m.Name)
	}
	p.fail(badParameter("meter", text, fmt.Sprintf("counter group %q has no such meter%s", g.Title, suggest(text, names, "it has none"))))
	return 0
}
