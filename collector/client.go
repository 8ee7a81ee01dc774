package collector

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ClientConfig says where a Client finds Weir.
type ClientConfig struct {
	URL   string // with the path: "http://127.0.0.1:8088/api"
	Token string // of the bot

	// Spool is a directory for values that cannot be delivered now; it is created, and belongs to
	// one Client at a time. With "" such values are an error of SendResults.
	Spool    string
	MaxSpool int64 // bytes, 0 means 64 MiB; beyond them the oldest values are dropped, and counted

	HTTP *http.Client // nil means one with a timeout of 30 s
	Log  *slog.Logger // nil means the default logger
}

// ClientStats are figures of a Client: Taken = Delivered + Waiting + Refused + Dropped.
type ClientStats struct {
	Taken     int64 // values that were given to SendResults and were in order
	Delivered int64
	Waiting   int64 // in the spool
	Refused   int64 // by the server, which will never take them
	Dropped   int64 // because the spool was full or damaged, or there is none
}

// ErrDenied is when the server does not know the token, or the token lacks a permission.
var ErrDenied = errors.New("access denied")

// StatusError is an answer that is none of those expected.
type StatusError struct {
	Method, Path string // without the query, which may hold a token
	Status       int
	Text         string // the beginning of the answer

	retryAfter time.Duration
}

// Error implements error.
func (e *StatusError) Error() string {
	return fmt.Sprintf("cannot %s %s: the server answers %d %s: %s", e.Method, e.Path, e.Status, http.StatusText(e.Status), strconv.Quote(e.Text))
}

// Is makes ErrDenied of 401 and 403.
func (e *StatusError) Is(target error) bool {
	return target == ErrDenied && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden)
}

// Client speaks the REST API of a Weir for one bot. It is a Source and a Sink. Its methods may
// be called from any goroutine.
type Client struct {
	config ClientConfig
	log    *slog.Logger
	base   string
	http   *http.Client
	user   int64
	spool  *spool // nil without
	stop   context.CancelFunc
	ended  sync.WaitGroup

	taken, delivered, refused, dropped atomic.Int64

	deniedSince atomic.Int64 // Unix nanoseconds; 0 while the token is good
}

var (
	_ Source = (*Client)(nil)
	_ Sink   = (*Client)(nil)
)

// Bounds of requests.
const (
	requestTimeout = 30 * time.Second
	maxAnswer      = 64 << 20
	firstPause     = time.Second // between attempts, then twice as long
	longestPause   = time.Minute
	deniedPatience = 10 * time.Minute // with a bad token, before the jobs end
)

// Dial opens the spool and asks the server who the bot is, again and again until it answers or
// ctx ends (section 1.1). A token that is not good is an error at once. From then on
// values in the spool are delivered, until Close.
func Dial(ctx context.Context, config ClientConfig) (*Client, error) {
	u, err := url.Parse(config.URL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.RawQuery != "" {
		return nil, fmt.Errorf("cannot use %q as the address of Weir: it must be like http://127.0.0.1:8088/api", config.URL)
	}
	if config.Token == "" {
		return nil, errors.New("cannot speak to Weir: there is no token")
	}
	c := &Client{config: config, log: cmp.Or(config.Log, slog.Default()), base: strings.TrimRight(config.URL, "/"), http: config.HTTP}
	if c.http == nil {
		c.http = &http.Client{Timeout: requestTimeout, Transport: http.DefaultTransport.(*http.Transport).Clone()}
	}
	if config.Spool != "" {
		if c.spool, err = openSpool(config.Spool, cmp.Or(config.MaxSpool, 64<<20), c.log); err != nil {
			return nil, err
		}
		c.taken.Add(c.spool.waiting())
	}
	if err := c.identify(ctx); err != nil {
		return nil, errors.Join(err, c.spool.close())
	}
	ctx, c.stop = context.WithCancel(context.WithoutCancel(ctx))
	if c.spool != nil {
		c.ended.Go(func() { c.delivering(ctx) })
	}
	return c, nil
}

// Close ends the delivery; what is in the spool stays there for the next Client.
func (c *Client) Close() error {
	c.stop()
	c.ended.Wait()
	return c.spool.close()
}

// UserID is who the bot is.
func (c *Client) UserID() int64 { return c.user }

// Stats returns the figures so far.
func (c *Client) Stats() ClientStats {
	return ClientStats{Taken: c.taken.Load(), Delivered: c.delivered.Load(), Waiting: c.spool.waiting(), Refused: c.refused.Load(),
		Dropped: c.dropped.Load() + c.spool.lost()}
}

// identify asks who the bot is.
func (c *Client) identify(ctx context.Context) error {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		var profile struct {
			UserID int64 `json:"user_id"`
		}
		err := c.get(ctx, "/profile/", &profile)
		if err == nil {
			c.user = profile.UserID
			return nil
		}
		if errors.Is(err, ErrDenied) || ctx.Err() != nil {
			return fmt.Errorf("cannot find out who the bot is: %w", err)
		}
		c.log.Warn("cannot find out who the bot is; trying again", "after", pause, "error", err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot find out who the bot is: %w", err)
		case <-time.After(pause):
		}
	}
}

// get asks for JSON.
func (c *Client) get(ctx context.Context, path string, into any) error {
	answer, err := c.request(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("cannot read the answer to GET %s: %w", path, err)
	}
	return nil
}

// Request sends one request of the API and returns the body of the answer; path begins with a slash and
// body is nil or JSON. An answer that is not 2xx is a *StatusError.
func (c *Client) Request(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	return c.request(ctx, method, path, body)
}

func (c *Client) request(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	shown, _, _ := strings.Cut(path, "?")
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, reader)
	if err != nil {
		return nil, fmt.Errorf("cannot %s %s: %w", method, shown, err)
	}
	r.Header.Set("Authorization", "Token "+c.config.Token) // not in the URL, which ends up in logs
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := c.http.Do(r)
	if err != nil {
		var of *url.Error
		if errors.As(err, &of) {
			err = of.Err
		}
		return nil, fmt.Errorf("cannot %s %s: %w", method, shown, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case response.StatusCode/100 != 2:
		if response.StatusCode == http.StatusUnauthorized {
			c.deniedSince.CompareAndSwap(0, time.Now().UnixNano())
		}
		e := &StatusError{Method: method, Path: shown, Status: response.StatusCode, Text: string(answer[:min(len(answer), 200)])}
		if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
			e.retryAfter = time.Duration(min(seconds, 3600)) * time.Second
		}
		return nil, e
	case err != nil:
		return nil, fmt.Errorf("cannot read the answer to %s %s: %w", method, shown, err)
	case len(answer) > maxAnswer:
		return nil, fmt.Errorf("cannot read the answer to %s %s: it has more than %d bytes", method, shown, maxAnswer)
	}
	c.deniedSince.Store(0)
	return answer, nil
}
