package modules

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// maxClients bounds how many different ways of connecting are kept.
const maxClients = 32

// clients keeps one client, and with it its idle connections, for each way of connecting: proxy,
// verification, certificates.
type clients struct {
	mu  sync.Mutex
	all map[way]*http.Client
}

type way struct {
	verifyPeer, verifyHost bool
	cainfo, cert, key      string
	environment            bool // proxy of the environment
	proxy, proxyPassword   string
	connect                time.Duration
	host                   string // when only the name is verified, which TLS does not tell for addresses
}

func (s *clients) get(r request, host string) (*http.Client, error) {
	w := way{
		verifyPeer: r.is("verify_peer"), verifyHost: r.is("verify_host"),
		cainfo: r.text("cainfo"), cert: r.text("sslcert"), key: r.text("sslkey"),
		environment: r.table.Get("proxy") == nil, proxy: r.text("proxy"), proxyPassword: r.text("proxyuserpwd"),
		connect: r.duration("connecttimeout"),
	}
	if w.verifyHost && !w.verifyPeer {
		w.host = host
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.all[w]; c != nil {
		return c, nil
	}
	c, err := w.client()
	if err != nil {
		return nil, err
	}
	if len(s.all) >= maxClients {
		s.drop()
	}
	if s.all == nil {
		s.all = map[way]*http.Client{}
	}
	s.all[w] = c
	return c, nil
}

func (s *clients) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop()
}

func (s *clients) drop() {
	for _, c := range s.all {
		c.CloseIdleConnections()
	}
	s.all = nil
}

func (w way) client() (*http.Client, error) {
	config, err := w.tls()
	if err != nil {
		return nil, err
	}
	proxy, err := w.proxyFunction()
	if err != nil {
		return nil, err
	}
	connect := w.connect
	if connect <= 0 {
		connect = 300 * time.Second
	}
	dialer := &net.Dialer{Timeout: connect}
	return &http.Client{Transport: &http.Transport{
		Proxy: proxy,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, address)
		},
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    connect,
		DisableCompression:     true, // scripts get what the server sent
		MaxIdleConnsPerHost:    2,
		MaxIdleConns:           16,
		IdleConnTimeout:        118 * time.Second,
		MaxResponseHeaderBytes: 1 << 20,
		ForceAttemptHTTP2:      true,
	}}, nil
}

func (w way) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if w.cainfo != "" {
		text, err := os.ReadFile(w.cainfo)
		if err != nil {
			return nil, fail(curlBadCA, "Problem with the SSL CA cert: "+err.Error())
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fail(curlBadCA, "Problem with the SSL CA cert: no certificate in "+w.cainfo)
		}
	}
	if w.cert != "" {
		key := w.key
		if key == "" {
			key = w.cert
		}
		pair, err := tls.LoadX509KeyPair(w.cert, key)
		if err != nil {
			return nil, fail(curlBadCert, "Problem with the local SSL certificate: "+err.Error())
		}
		config.Certificates = []tls.Certificate{pair}
	}
	switch {
	case !w.verifyPeer && !w.verifyHost:
		config.InsecureSkipVerify = true
	case !w.verifyPeer: // the name only
		config.InsecureSkipVerify = true
		config.VerifyConnection = func(s tls.ConnectionState) error {
			name := s.ServerName
			if name == "" {
				name = w.host
			}
			return s.PeerCertificates[0].VerifyHostname(name)
		}
	case !w.verifyHost: // the chain only
		config.InsecureSkipVerify = true
		config.VerifyConnection = func(s tls.ConnectionState) error {
			o := x509.VerifyOptions{Roots: config.RootCAs, Intermediates: x509.NewCertPool()}
			for _, c := range s.PeerCertificates[1:] {
				o.Intermediates.AddCert(c)
			}
			_, err := s.PeerCertificates[0].Verify(o)
			return err
		}
	}
	return config, nil
}

func (w way) proxyFunction() (func(*http.Request) (*url.URL, error), error) {
	if w.environment {
		return http.ProxyFromEnvironment, nil
	}
	if w.proxy == "" {
		return nil, nil
	}
	text := w.proxy
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, fail(curlProxyName, "Unsupported proxy syntax: "+withoutURL(err).Error())
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
	default:
		return nil, fail(curlProxyName, "Unsupported proxy scheme \""+u.Scheme+"\"")
	}
	if u.Port() == "" && u.Scheme == "https" {
		u.Host += ":443"
	} else if u.Port() == "" {
		u.Host += ":1080"
	}
	if name, password, ok := strings.Cut(w.proxyPassword, ":"); ok || name != "" {
		u.User = url.UserPassword(name, password)
	}
	return http.ProxyURL(u), nil
}
