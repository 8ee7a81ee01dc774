package tsdriver

import (
	"path/filepath"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/front"
)

// API is the name of the contract.
const API = "ntopng"

// Setup is what the script half is told: the payload of the setup frame, as JSON.
type Setup struct {
	Name    string         `json:"name"`
	Script  string         `json:"script"`  // path of the file
	Options map[string]any `json:"options"` // what the constructor gets, as it is in the configuration (R29)

	Preferences  map[string]string `json:"preferences"`  // by full key; they win over those that the script stored
	Interfaces   map[string]string `json:"interfaces"`   // names by id, besides those that points come from
	Installation string            `json:"installation"` // directory of an ntopng installation, "" for none
	Parity       bool              `json:"parity"`       // its modules win over the built-in ones (R36)
	Directory    string            `json:"directory"`    // the script's own: working files, queues and the cache; "" for none

	Definitions []*front.Definition `json:"definitions"` // schemas that the script may ask for

	SpoolBytes int64         `json:"spool_bytes"` // of files that wait for export, 0 for the default
	Call       time.Duration `json:"call"`        // a call of the script may take, 0 for ever
	Memory     int64         `json:"memory"`      // bytes of the Lua state, 0 for no limit

	Inspect bool `json:"inspect,omitempty"` // load the file and stop before the constructor
}

// modulePath are the templates under which modules are found (4.8): beside the script, and in the installation.
func (s *Setup) modulePath() []string {
	var dirs []string
	if s.Script != "" {
		dirs = append(dirs, filepath.Dir(s.Script))
	}
	if s.Installation != "" {
		modules := filepath.Join(s.Installation, "scripts/lua/modules")
		for _, below := range []string{"", "timeseries", "timeseries/drivers", "timeseries/schemas", "timeseries/custom", "i18n", "notifications"} {
			dirs = append(dirs, filepath.Join(modules, below))
		}
	}
	var path []string
	for _, dir := range dirs {
		path = append(path, dir+"/?.lua", dir+"/?/init.lua")
	}
	return path
}

// DriverFile is the file of a driver that the configuration names (R29): a path, or, for a
// name without a directory or ".lua", a file of the driver directory of the installation.
func DriverFile(name, installation string) string {
	if strings.ContainsRune(name, filepath.Separator) || strings.HasSuffix(name, ".lua") || installation == "" {
		return name
	}
	return filepath.Join(installation, "scripts/lua/modules/timeseries/drivers", name+".lua")
}
