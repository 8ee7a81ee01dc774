package cli

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/connector"
	"github.com/weirhq/weir/internal/daemon"
	"github.com/weirhq/weir/internal/monitor"
	"github.com/weirhq/weir/internal/script"
)

// How long a script may take to load while it is only looked at.
const (
	checkCall = 10 * time.Second // at most, before an error is raised in it
	checkKill = 2 * time.Second  // more, where that is impossible
	checkAll  = 20 * time.Second // its process
)

// inspect loads the scripts of connectors, each in a process of its own. found has
// an entry for each connector; the error holds what is wrong, with places.
func inspect(ctx context.Context, cfg *config.Config) (found []*connector.Inspection, err error) {
	mistakes := cfg.MissingScripts()
	if len(mistakes) > 0 {
		return nil, mistakes
	}
	for i, c := range cfg.Events.Connectors {
		budget := script.DefaultBudget()
		setup := c.Setup
		setup.Call, setup.Memory = min(setup.Call, checkCall), int64(c.Memory)/4*3
		budget.Hard, budget.Memory = setup.Call+checkKill, int64(c.Memory)
		bounded, cancel := context.WithTimeout(ctx, checkAll)
		one, err := connector.Inspect(bounded, setup, budget)
		cancel()
		if err != nil {
			path := fmt.Sprintf("connectors[%d].script", i)
			mistakes = append(mistakes, cfg.Fail(path, fmt.Errorf("cannot load the script of connector %q: %w", c.Name, err)))
		}
		found = append(found, one)
	}
	if len(mistakes) > 0 {
		return nil, mistakes
	}
	return found, nil
}

// inspectMonitors loads monitor scripts, each in a process of its own. found has a list for each entry of monitors; the error holds what is wrong, with places.
func inspectMonitors(ctx context.Context, cfg *config.Config) (found [][]monitor.Inspection, err error) {
	var mistakes config.Errors
	for i := range cfg.Monitors {
		path := fmt.Sprintf("monitors[%d].path", i)
		bounded, cancel := context.WithTimeout(ctx, checkAll)
		some, err := daemon.InspectMonitors(bounded, cfg, i, checkCall+checkKill)
		cancel()
		if err != nil {
			mistakes = append(mistakes, cfg.Fail(path, err))
		}
		for _, one := range some {
			if one.Err != nil {
				mistakes = append(mistakes, cfg.Fail(path, fmt.Errorf("cannot load a monitor: %w", one.Err)))
			}
		}
		found = append(found, some)
	}
	if len(mistakes) > 0 {
		return nil, mistakes
	}
	return found, nil
}

// summarizeMonitor prints what a monitor comes to.
func summarizeMonitor(w io.Writer, found monitor.Inspection) {
	attaches := "to nothing"
	if len(found.Attaches) > 0 {
		attaches = strings.Join(found.Attaches, ", ")
	}
	fmt.Fprintf(w, "  monitor     %s\n    file        %s\n    attached    %s\n", found.Name, found.File, attaches)
	if len(found.Defines) > 0 {
		fmt.Fprintf(w, "    defines     %s\n", strings.Join(found.Defines, ", "))
	}
}

// summarizeConnector prints what a connector comes to, without secrets.
func summarizeConnector(w io.Writer, c config.Connector, found *connector.Inspection) {
	fmt.Fprintf(w, "  connector   %s\n    script      %s, version %d of the interface, events of BBDO %s\n    functions   %s\n    events      %s\n",
		c.Name, c.Script, found.Version, c.BBDO, strings.Join(found.Functions, " "), strings.Join(orAll(c.Categories), " "))
	for i, p := range c.Parameters {
		label := "parameters"
		if i > 0 {
			label = ""
		}
		fmt.Fprintf(w, "    %-10s  %s\n", label, describe(p))
	}
}

func orAll(categories []string) []string {
	if len(categories) == 0 {
		return []string{"all"}
	}
	return categories
}

// Names and values that are not shown even where nothing says that they are secret.
var (
	secretName  = regexp.MustCompile(`(?i)pass|pwd|secret|token|credential|auth|community|key`)
	secretValue = regexp.MustCompile(`(?i)://[^/]*@|-----BEGIN|bearer |[?&][a-z_]*(key|token|secret|sig)=`)
)

// describe is a parameter with its type; its value only when it is no secret.
func describe(p connector.Parameter) string {
	hidden := p.Secret || secretName.MatchString(p.Name) || secretValue.MatchString(p.Text)
	switch {
	case p.Numeric && !hidden:
		return fmt.Sprintf("%s = %s (number)", p.Name, strconv.FormatFloat(p.Number, 'f', -1, 64))
	case p.Numeric:
		return p.Name + " = *** (number)"
	case hidden:
		return p.Name + " = *** (string)"
	}
	return fmt.Sprintf("%s = %q (string)", p.Name, p.Text)
}
