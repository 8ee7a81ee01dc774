package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/weirhq/weir/internal/api"
	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/statsd"
	"github.com/weirhq/weir/internal/statsd/proxy"
	"github.com/weirhq/weir/internal/telemetry"
)

// proxyPatience is how long the StatsD proxy may take to stop.
const proxyPatience = time.Second

// statsdProxy spreads StatsD lines over other daemons.
type statsdProxy struct {
	config *config.Config
	proxy  *proxy.Proxy
}

func newStatsDProxy(cfg *config.Config, reg *telemetry.Registry, log *slog.Logger) *statsdProxy {
	return &statsdProxy{cfg, proxy.New(cfg.StatsDProxy.Config(), reg, log)}
}

func (p *statsdProxy) start(ctx context.Context) error {
	err := p.proxy.Start(ctx)
	var unbound *statsd.ListenError
	switch {
	case errors.As(err, &unbound):
		at := p.config.StatsDProxy.Listen[unbound.Index]
		return p.config.Fail(fmt.Sprintf("statsd_proxy.listen[%d]", unbound.Index), listenError("StatsD's proxy over "+at.Network, at.Address, unbound.Err))
	case err != nil && ctx.Err() == nil:
		return p.config.Fail("statsd_proxy.management.listen", err)
	}
	return err
}

// where is where lines arrive, as URLs.
func (p *statsdProxy) where() []string {
	var urls []string
	for i, address := range p.proxy.Addresses() {
		urls = append(urls, p.config.StatsDProxy.Listen[i].Network+"://"+address.String())
	}
	return urls
}

func (p *statsdProxy) source() api.Source {
	return api.Source{Name: "statsd_proxy", Listen: p.where(), LastInput: p.proxy.LastPacket()}
}
