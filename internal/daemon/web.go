package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/weirhq/weir/internal/api"
	"github.com/weirhq/weir/internal/config"
)

// web is the HTTP server. Its token and its certificate can change while it runs.
type web struct {
	config       *config.Config
	dependencies api.Dependencies
	fail         func(error)

	handler     atomic.Pointer[http.Handler]
	certificate atomic.Pointer[tls.Certificate]
	server      *http.Server
	listener    net.Listener
	done        chan struct{}
}

func newWeb(cfg *config.Config, dependencies api.Dependencies, log *slog.Logger, fail func(error)) *web {
	w := &web{config: cfg, dependencies: dependencies, fail: fail, done: make(chan struct{})}
	w.server = api.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) { (*w.handler.Load()).ServeHTTP(out, r) }), log)
	w.use(cfg)
	return w
}

// use takes the token and the certificate of cfg.
func (w *web) use(cfg *config.Config) {
	dependencies := w.dependencies
	dependencies.Token = cfg.HTTP.Token
	handler := api.New(dependencies)
	w.handler.Store(&handler)
	w.certificate.Store(&cfg.HTTP.TLS.Certificate)
}

// secure reports whether cfg wants HTTPS.
func secure(cfg *config.Config) bool { return cfg.HTTP.TLS.Cert != "" }

// reload reports whether all of it could be applied: HTTP does not become HTTPS.
func (w *web) reload(cfg *config.Config) bool {
	w.use(cfg)
	return secure(w.config) == secure(cfg)
}

func (w *web) start(context.Context) error {
	address := w.config.HTTP.Listen
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return w.config.Fail("http.listen", listenError("HTTP", address, err))
	}
	w.listener = listener
	if secure(w.config) {
		listener = tls.NewListener(listener, &tls.Config{
			MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return w.certificate.Load(), nil },
		})
	}
	go func() {
		defer close(w.done)
		if err := w.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			w.fail(fmt.Errorf("cannot go on serving HTTP on %q: %w", address, err))
		}
	}()
	return nil
}

// stop lets requests that are being answered end; those that take longer than
// ctx, and clients that never sent one, are cut off.
func (w *web) stop(ctx context.Context) error {
	err := w.server.Shutdown(ctx)
	if err != nil {
		err = w.server.Close()
	}
	<-w.done
	return err
}

func (w *web) url() string {
	scheme := "http"
	if secure(w.config) {
		scheme = "https"
	}
	return scheme + "://" + w.listener.Addr().String()
}

// warnAboutAccess says so when more people can look and delete than may be meant.
func (d *Daemon) warnAboutAccess(cfg *config.Config) {
	if address := d.started.HTTP.Listen; cfg.HTTP.Token == "" && !local(address) {
		d.log.Warn("everybody who reaches the HTTP API can read all data: set http.token or http.token_file, or listen on 127.0.0.1", "listen", address)
	}
	if address := d.started.StatsD.Management; d.intake != nil && address != "" && !local(address) {
		d.log.Warn("everybody who reaches the management console can delete metrics: listen on 127.0.0.1", "listen", address)
	}
}
