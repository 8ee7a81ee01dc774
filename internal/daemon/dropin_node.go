package daemon

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/statsd/jsconfig"
	"github.com/weirhq/weir/internal/statsd/node"
)

// nodeModules are the backends of the file that are modules for Node.
func (d *DropIn) nodeModules() (names []string) {
	for _, b := range d.file.Backends {
		if !b.Native() {
			names = append(names, b.Module())
		}
	}
	return names
}

// nodeHost is a backend that runs modules in a process of their own.
func (d *DropIn) nodeHost(name string, modules []string, servers []jsconfig.Server) *node.Host {
	file := absolute(d.path)
	c := node.Config{
		Name: name, Backends: modules, Node: d.file.Node.Program, Option: "weir.node", ConfigFile: file,
		Roots: nodeRoots(d.file.Node.Root, filepath.Dir(file)), GaugeTTL: d.file.StatsD.GaugeTTL, Budget: node.DefaultBudget(),
		Output: d.nodeOutput,
		Receive: func(ctx context.Context, packets [][]byte, from []backend.Remote) {
			select {
			case <-d.made: // a server may receive before everything runs
				d.server.Take(packets, from)
			case <-ctx.Done():
			}
		},
	}
	for _, s := range servers {
		c.Servers = append(c.Servers, node.Server(s))
	}
	return node.New(c, d.scripts, d.registry, d.log)
}

// nodeRoots are where modules are looked for: the directory that plays the part
// of StatsD's own, that of the configuration file and the working directory.
func nodeRoots(root, beside string) []string {
	var roots []string
	if root != "" {
		roots = append(roots, absolute(root))
	}
	roots = append(roots, beside)
	if here, err := os.Getwd(); err == nil && here != beside {
		roots = append(roots, here)
	}
	return roots
}

// nodeOutput prints what modules print, and what they log as the reference daemon does.
func (d *DropIn) nodeOutput(stream, kind, text string) {
	switch stream {
	case "log":
		_ = d.lines.say(kind, text) // there is nobody to tell
	case "stderr":
		fmt.Fprintln(os.Stderr, text)
	default:
		fmt.Fprintln(d.stdout, text)
	}
}
