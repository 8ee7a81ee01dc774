package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"

	"github.com/weirhq/weir/internal/statsd"
	"github.com/weirhq/weir/internal/statsd/jsconfig"
	"github.com/weirhq/weir/internal/statsd/proxy"
	"github.com/weirhq/weir/internal/telemetry"
)

// ProxyDropIn is what stands in for StatsD's proxy, `node proxy.js FILE.js`.
type ProxyDropIn struct {
	path     string
	lines    *dropInLog
	proxy    *proxy.Proxy
	stopping sync.Once
}

// NewProxyDropIn returns a ProxyDropIn for the configuration file at path. It prints to stdout what the proxy prints.
func NewProxyDropIn(path string, stdout io.Writer) *ProxyDropIn {
	return &ProxyDropIn{path: path, lines: newDropInLog(stdout)}
}

// Start reads the file, looks at the nodes and listens. After an error everything is closed again.
func (d *ProxyDropIn) Start(ctx context.Context) error {
	d.lines.print("[%d] reading config file: %s", os.Getpid(), d.path)
	file, err := jsconfig.ReadProxy(d.path)
	if err != nil {
		return err
	}
	if err := d.lines.use(&jsconfig.File{Log: file.Log, StatsD: statsd.Config{Debug: file.Debug}}); err != nil {
		return err
	}
	d.proxy = proxy.New(file.Proxy, telemetry.NewRegistry(), slog.New(d.lines))
	d.proxy.SetHealthy(file.Healthy)
	err = d.proxy.Start(ctx)
	var unbound *statsd.ListenError
	if errors.As(err, &unbound) {
		l := file.Proxy.Listen[unbound.Index]
		option := "port"
		if l.Network == "unix" {
			option = "socket"
		}
		return fmt.Errorf("%w (option %s)", listenError("StatsD over "+l.Network, l.Address, unbound.Err), option)
	}
	if err != nil {
		return fmt.Errorf("%w (options mgmt_port and mgmt_address)", err)
	}
	d.lines.print("[%d] server is up", os.Getpid())
	return nil
}

// Addresses is where lines arrive; valid after Start.
func (d *ProxyDropIn) Addresses() []net.Addr { return d.proxy.Addresses() }

// Console is where the management console listens; valid after Start.
func (d *ProxyDropIn) Console() net.Addr { return d.proxy.Console() }

// Stop sends on what has arrived and closes everything, bounded by ctx.
func (d *ProxyDropIn) Stop(ctx context.Context) error {
	var err error
	d.stopping.Do(func() { err = d.proxy.Stop(ctx) })
	return err
}
