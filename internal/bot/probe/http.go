package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"regexp"
	"slices"
	"time"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/bot"
)

// HTTP asks for pages. Details of a sensor:
//
//	url           "https://{ipv4}/health"; {ipv4} is that of the entity
//	method        "GET"
//	headers       {"Host": "www.example.org"}
//	expect_status [200, 204]; any below 400 when it is not given
//	expect_body   a regular expression that the first MiB of the page must match
//	redirects     true to follow them
//	insecure      true for a certificate that nobody vouches for
//	timeout       seconds, 10 when it is not given
//	output_path   where values go below http
//
// Values: up (1 when all that is expected is there, otherwise 0), status, seconds of the
// phases dns, connect, tls, first_byte and total, bytes of the page, cert_expires (seconds until the first certificate ends).
var HTTP bot.Bot = prober{"http", probeHTTP}

type httpDetails struct {
	common
	URL          string            `json:"url"`
	Method       string            `json:"method"`
	Headers      map[string]string `json:"headers"`
	ExpectStatus []int             `json:"expect_status"`
	ExpectBody   string            `json:"expect_body"`
	Redirects    bool              `json:"redirects"`
	Insecure     bool              `json:"insecure"`
}

const (
	maxPage      = 1 << 20 // bytes that are looked at
	maxRedirects = 10
)

func probeHTTP(ctx context.Context, device *collector.JobConfig, sensor *collector.SensorConfig) (measured, string, error) {
	var d httpDetails
	if err := bot.Details(sensor.Details, &d); err != nil {
		return nil, "", err
	}
	address, err := filled(d.URL, device)
	if err != nil {
		return nil, "", err
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, "", fmt.Errorf("cannot use %q: it must be like https://www.example.org/", address)
	}
	body, err := regexp.Compile(d.ExpectBody)
	if err != nil {
		return nil, "", fmt.Errorf("cannot use expect_body: %w", err)
	}
	ctx, cancel := d.deadline(ctx)
	defer cancel()
	var phases phases
	request, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, phases.trace()), d.Method, address, nil)
	if err != nil {
		return nil, "", err
	}
	request.Header.Set("User-Agent", "weir")
	for name, value := range d.Headers {
		if request.Header.Set(name, value); http.CanonicalHeaderKey(name) == "Host" {
			request.Host = value
		}
	}
	begin := time.Now()
	client := http.Client{
		// A connection of its own: how long it takes to make one is part of the answer.
		Transport: &http.Transport{DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{InsecureSkipVerify: d.Insecure}}, //nolint:gosec // only when asked for
		CheckRedirect: func(_ *http.Request, via []*http.Request) error {
			switch {
			case !d.Redirects:
				return http.ErrUseLastResponse
			case len(via) >= maxRedirects:
				return errors.New("too many redirections")
			}
			return nil
		},
	}
	found := measured{"up": 0}
	response, err := client.Do(request)
	if err != nil {
		found["total"] = time.Since(begin).Seconds()
		return found, d.OutputPath, nil
	}
	defer response.Body.Close()
	page, err := io.ReadAll(io.LimitReader(response.Body, maxPage))
	phases.into(found)
	found["total"], found["status"], found["bytes"] = time.Since(begin).Seconds(), float64(response.StatusCode), float64(len(page))
	expected := response.StatusCode < 400
	if len(d.ExpectStatus) > 0 {
		expected = slices.Contains(d.ExpectStatus, response.StatusCode)
	}
	if expected && err == nil && body.Match(page) {
		found["up"] = 1
	}
	if of := response.TLS; of != nil && len(of.PeerCertificates) > 0 {
		found["cert_expires"] = expires(of.PeerCertificates)
	}
	return found, d.OutputPath, nil
}
