package proxy

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/weirhq/weir/internal/statsd"
	"github.com/weirhq/weir/internal/statsd/management"
)

// Config is what a Proxy is told.
type Config struct {
	Nodes         []Node
	Listen        []statsd.Listen
	Management    string        // "host:port" of the management console; "" for none
	CheckInterval time.Duration // between two checks of a node, and how long one may take; more than 0
	Lanes         int           // sockets per UDP address; 0 means one per core
	Component     string        // what the names of ledgers begin with
	Settings      func() []management.Setting
}

// Node is a daemon that adds up.
type Node struct {
	Host      string // name or address, as it stands in the configuration: the ring is made of it
	Port      int    // UDP
	AdminPort int    // TCP, of its management console
}

// ID is how the node is called on the ring and in messages.
func (n Node) ID() string { return n.Host + ":" + strconv.Itoa(n.Port) }

func (n Node) admin() string { return net.JoinHostPort(n.Host, strconv.Itoa(n.AdminPort)) }

// Check says what is wrong with the nodes.
func (c Config) Check() error {
	if len(c.Nodes) == 0 {
		return errors.New("no nodes: the proxy needs at least one, such as {host: '192.0.2.1', port: 8127, adminport: 8128}")
	}
	seen := make(map[string]bool)
	for i, n := range c.Nodes {
		if seen[n.ID()] {
			return fmt.Errorf("nodes[%d]: %q is there twice: each node must have a host and port of its own", i, n.ID())
		}
		seen[n.ID()] = true
	}
	return nil
}
