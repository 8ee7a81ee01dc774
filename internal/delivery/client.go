package delivery

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Secret is a password or token. At most one of its fields is set.
type Secret struct {
	Text string
	File string // white space around what it holds is left out; read for every request, so that it may change
}

// Value returns the secret; errors do not quote it.
func (s Secret) Value() (string, error) {
	if s.File == "" {
		return s.Text, nil
	}
	text, err := os.ReadFile(s.File)
	if err != nil {
		return "", fmt.Errorf("cannot read a secret: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// TLS says how a server is known, and how it knows Weir. All of it may be empty.
type TLS struct {
	CA        string // PEM file of the authorities that are trusted instead of those of the system
	Cert, Key string // PEM files of a certificate that is shown to the server
}

// Access is how a server is reached over HTTP.
type Access struct {
	URL      string // its root, such as "http://192.0.2.1:8086"
	Username string
	Password Secret
	Token    Secret
	Scheme   string // of the header Authorization with Token, such as "Bearer"
	TLS      TLS
}

// Client speaks HTTP with one server. Its methods may be called from any goroutine.
type Client struct {
	access Access
	root   string

	mu   sync.Mutex
	http *http.Client // nil until the files of access.TLS are read
}

// The limits of one exchange.
const (
	connectTime = 10 * time.Second
	headerTime  = 2 * time.Minute // until an answer begins; the caller's context ends it earlier
	answerBytes = 256 << 20       // of an answer to a question
	reasonBytes = 2000            // of an answer that says what is wrong
)

// NewClient returns a Client, which reads the files of access.TLS when it is used first.
func NewClient(access Access) *Client {
	return &Client{access: access, root: strings.TrimRight(access.URL, "/")}
}

// connected returns the means to make requests.
func (c *Client) connected() (*http.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.http != nil {
		return c.http, nil
	}
	settings, err := c.access.TLS.Settings()
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: (&net.Dialer{Timeout: connectTime}).DialContext, TLSClientConfig: settings, TLSHandshakeTimeout: connectTime,
		ResponseHeaderTimeout: headerTime, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true,
	}
	// A redirected POST would become a GET, and the secret would go elsewhere.
	noRedirect := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.http = &http.Client{Transport: transport, CheckRedirect: noRedirect}
	return c.http, nil
}

// Settings reads the files.
func (t TLS) Settings() (*tls.Config, error) {
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("cannot read the authorities to trust: %w", err)
		}
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("cannot use %q as authorities to trust: there is no certificate in PEM in it", t.CA)
		}
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("cannot use the certificate %q with the key %q: %w", t.Cert, t.Key, err)
		}
		settings.Certificates = []tls.Certificate{pair}
	}
	return settings, nil
}

// Request is one request.
type Request struct {
	Method string // GET when it is ""
	Path   string // below the root, or a whole URL
	Query  url.Values
	Form   url.Values // the body, when there is no other
	Body   []byte
	Header map[string]string
}

// Do makes a request and returns the answer of one that succeeded, which the caller closes and
// in which no more than 256 MB can be read. Otherwise it returns a *Rejected, a *Later or another
// error, by the status (specification section 9). No error quotes a secret.
func (c *Client) Do(ctx context.Context, r Request) (*http.Response, error) {
	address := r.Path
	if !strings.Contains(address, "://") {
		address = c.root + address
	}
	if len(r.Query) > 0 {
		address += "?" + r.Query.Encode()
	}
	var body io.Reader
	if r.Form != nil {
		body = strings.NewReader(r.Form.Encode())
	} else if r.Body != nil {
		body = bytes.NewReader(r.Body)
	}
	request, err := http.NewRequestWithContext(ctx, cmp.Or(r.Method, http.MethodGet), address, body)
	if err != nil {
		return nil, fmt.Errorf("cannot ask %s: %w", c.root, bare(err))
	}
	if r.Form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range r.Header {
		request.Header.Set(name, value)
	}
	if err := c.authorize(request); err != nil {
		return nil, err
	}
	client, err := c.connected()
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("cannot reach %s: %w", c.root, bare(err))
	}
	if response.StatusCode/100 == 2 {
		response.Body = &bounded{body: response.Body, left: answerBytes}
		return response, nil
	}
	defer response.Body.Close()
	return nil, failureOf(c.root, response)
}

// Ask makes a request of whose answer nothing is wanted but that it succeeds.
func (c *Client) Ask(ctx context.Context, r Request) error {
	response, err := c.Do(ctx, r)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, reasonBytes)) // so that the connection is used again
	return response.Body.Close()
}

func (c *Client) authorize(request *http.Request) error {
	token, err := c.access.Token.Value()
	if err != nil {
		return err
	}
	if token != "" {
		request.Header.Set("Authorization", c.access.Scheme+" "+token)
		return nil
	}
	password, err := c.access.Password.Value()
	if err != nil {
		return err
	}
	if c.access.Username != "" || password != "" {
		request.SetBasicAuth(c.access.Username, password)
	}
	return nil
}

// bare is an error without the URL, which may hold a long question.
func bare(err error) error {
	var of *url.Error
	if errors.As(err, &of) {
		return of.Err
	}
	return err
}

// failureOf says what the status of an answer means.
func failureOf(root string, response *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(response.Body, reasonBytes)) // as much as came
	reason := strings.TrimSpace(strings.ToValidUTF8(string(text), "?"))
	if reason == "" {
		reason = response.Status
	}
	err := fmt.Errorf("%s answers %s: %.500q", root, response.Status, reason)
	switch response.StatusCode {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return &Rejected{Reason: reason}
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return &Later{After: retryAfter(response.Header.Get("Retry-After"), time.Now()), Err: err}
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w; look at the name, password or token in the configuration", err)
	}
	return err
}

// retryAfter reads a number of seconds or a date; 0 when it is neither or is over.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseInt(header, 10, 32); err == nil {
		return max(time.Duration(seconds)*time.Second, 0)
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// errLong is what reading an answer fails with that does not end.
var errLong = fmt.Errorf("the answer is longer than %d MB: ask for less", answerBytes>>20)

// bounded is a body of which so much may be read.
type bounded struct {
	body io.ReadCloser
	left int64
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errLong
	}
	n, err := b.body.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// Close implements io.Closer.
func (b *bounded) Close() error { return b.body.Close() }
