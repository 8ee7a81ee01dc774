package connector

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/event"
)

// Setup is what the script half is told: the payload of the setup frame, as JSON.
type Setup struct {
	Name       string      `json:"name"`
	Script     string      `json:"script"` // path of the file
	Parameters []Parameter `json:"parameters"`
	Categories []string    `json:"categories"`       // the category filter (1.10)
	BBDO       string      `json:"bbdo"`             // version scripts are told, and generation of their events
	Queue      int         `json:"queue"`            // unacknowledged events at most (1.7)
	Apart      bool        `json:"apart,omitempty"`  // several installations: the script gets the events of one
	Of         uint32      `json:"of,omitempty"`     // its broker.InstallationNumber
	Forget     bool        `json:"forget,omitempty"` // what pollers do not have any more goes from the cache (6.2)
	Cache      string      `json:"cache"`            // file of the broker cache, "" to keep it in memory only

	Quarantine string `json:"-"` // file of events that were set aside, "" for none
	Aside      int    `json:"-"` // events that may be set aside without an acknowledgement between; 0 for none

	TypeAlias bool `json:"type_alias"` // events without a member "type" get that of "_type" (8.6)

	Call   time.Duration `json:"call"`   // a call of the script may take, 0 for ever
	Memory int64         `json:"memory"` // bytes of the Lua state, 0 for no limit

	Inspect bool `json:"inspect,omitempty"` // load the file and stop before init
}

// Parameter is one entry of the table init gets (1.2): a string, or a number.
type Parameter struct {
	Name    string  `json:"name"`
	Text    string  `json:"text,omitempty"`
	Number  float64 `json:"number,omitempty"`
	Numeric bool    `json:"numeric,omitempty"` // Number counts
	Secret  bool    `json:"secret,omitempty"`  // for no eyes but those of the script
}

// Versions are the values of Setup.BBDO.
var Versions = []string{"3.0.1", "3.0.0", "2.0.0"}

// family is the generation of events a script gets.
func (s *Setup) family() event.Family {
	if strings.HasPrefix(s.BBDO, "2.") {
		return event.Legacy
	}
	return event.Protobuf
}

// ParseParameter reads "name=value", a number where the value is one.
func ParseParameter(text string) (Parameter, error) {
	name, value, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		return Parameter{}, fmt.Errorf("cannot use the parameter %q: want NAME=VALUE", text)
	}
	p := Parameter{Name: name, Text: value}
	if n, err := strconv.ParseFloat(value, 64); err == nil && decimal(value) {
		p = Parameter{Name: name, Number: n, Numeric: true}
	}
	return p, nil
}

// decimal reports whether a number is written in decimal digits: names such as
// "inf" and hexadecimal numbers stay text.
func decimal(s string) bool {
	return strings.Trim(s, "0123456789.-") == "" && s != ""
}
