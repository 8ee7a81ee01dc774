package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/internal/api"
)

const (
	defaultURL     = "http://127.0.0.1:8088"
	answerTimeout  = time.Minute
	completionTime = 500 * time.Millisecond
	maxAnswer      = 256 << 20 // bytes that are held in memory
)

// client asks a running daemon over HTTP.
type client struct {
	base  *url.URL
	token string
	http  http.Client
}

// connection are the flags that say which daemon to ask.
type connection struct{ url, tokenFile string }

func (c *connection) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.url, "url", "", "where Weir's HTTP API is, or WEIR_URL (default "+defaultURL+")")
	cmd.Flags().StringVar(&c.tokenFile, "token-file", "", "file with the token of the HTTP API, or WEIR_TOKEN with the token itself")
}

func (c *connection) client() (*client, error) {
	text := cmp.Or(c.url, os.Getenv("WEIR_URL"), defaultURL)
	base, err := url.Parse(text)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("cannot use the URL %q: want http://HOST:PORT or https://HOST:PORT", text)
	}
	token := os.Getenv("WEIR_TOKEN")
	if c.tokenFile != "" {
		content, err := os.ReadFile(c.tokenFile)
		if err != nil {
			return nil, fmt.Errorf("cannot read the token: %w", err)
		}
		token = strings.TrimSpace(string(content))
	}
	return &client{base: base, token: token}, nil
}

// get asks for path and hands the body of the answer to read.
func (c *client) get(ctx context.Context, path string, parameters url.Values, read func(io.Reader) error) error {
	return c.do(ctx, http.MethodGet, path, parameters, read)
}

func (c *client) do(ctx context.Context, method, path string, parameters url.Values, read func(io.Reader) error) error {
	target := c.base.JoinPath(path)
	target.RawQuery = parameters.Encode()
	request, err := http.NewRequestWithContext(ctx, method, target.String(), nil)
	if err != nil {
		return fmt.Errorf("cannot ask %s: %w", c.base.Redacted(), err)
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // without the URL, which is long
		}
		return failure{fmt.Errorf("cannot reach Weir at %s: %w (is `weir run` running?)", c.base.Redacted(), err)}
	}
	defer response.Body.Close()
	if kind := response.Header.Get("Content-Type"); kind != "application/json" {
		return failure{fmt.Errorf("what answers at %s is not Weir: status %s, content of type %q (--url or WEIR_URL says where Weir is)", c.base.Redacted(), response.Status, kind)}
	}
	if response.StatusCode == http.StatusOK {
		if err := read(response.Body); err != nil {
			return failure{fmt.Errorf("cannot read the answer of %s: %w", c.base.Redacted(), err)}
		}
		return nil
	}
	var refusal api.Error
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&refusal); err != nil || refusal.Message == "" {
		return failure{fmt.Errorf("cannot read the answer of %s: status %s", c.base.Redacted(), response.Status)}
	}
	switch response.StatusCode {
	case http.StatusUnauthorized:
		return failure{fmt.Errorf("a token is wanted by Weir at %s: set WEIR_TOKEN or use --token-file", c.base.Redacted())}
	case http.StatusBadRequest:
		return &refusal
	}
	return failure{&refusal}
}

// decode asks for path and reads the whole answer into answer.
func (c *client) decode(ctx context.Context, path string, parameters url.Values, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return c.get(ctx, path, parameters, func(r io.Reader) error { return json.NewDecoder(io.LimitReader(r, maxAnswer)).Decode(answer) })
}

// schema is one of the answer to /api/v1/schemas.
type schema struct {
	Name    string   `json:"name"`
	Step    int64    `json:"step"`
	Type    string   `json:"type"`
	Tags    []string `json:"tags"`
	Packed  string   `json:"packed"`
	Metrics []string `json:"metrics"`
}

func (c *client) schemas(ctx context.Context) ([]schema, error) {
	var answer struct{ Schemas []schema }
	err := c.decode(ctx, "api/v1/schemas", nil, &answer)
	return answer.Schemas, err
}

// question is what the commands that ask have in common.
type question struct {
	connection
	start, end string
	json, csv  bool
}

func (q *question) register(cmd *cobra.Command, start, end string) {
	q.connection.register(cmd)
	const when = ": Unix seconds, RFC 3339, now, or before now like -15m, -1h, -7d"
	cmd.Flags().StringVar(&q.start, "start", start, "begin of the range"+when)
	cmd.Flags().StringVar(&q.end, "end", end, "end of the range"+when)
	cmd.Flags().BoolVar(&q.json, "json", false, "print the answer of the HTTP API as it is")
	cmd.Flags().BoolVar(&q.csv, "csv", false, "print comma-separated values with a header; times in RFC 3339, UTC")
	cmd.MarkFlagsMutuallyExclusive("json", "csv")
	cmd.ValidArgsFunction = q.complete
}

// parameters are those of the API for the arguments SCHEMA TAG=VALUE...
func (q *question) parameters(args []string) (url.Values, error) {
	p := make(url.Values)
	set(p, "start", q.start)
	set(p, "end", q.end)
	for i, arg := range args {
		switch name, _, tag := strings.Cut(arg, "="); {
		case i == 0 && !tag:
			p.Set("schema", arg)
		case i == 0:
			return nil, fmt.Errorf("cannot use %q: the first argument must be a schema, such as statsd:counter", arg)
		case !tag || name == "":
			return nil, fmt.Errorf("cannot use %q: arguments after the schema must be TAG=VALUE, such as name=api.requests", arg)
		default:
			p.Add("tag", arg)
		}
	}
	return p, nil
}

func set(p url.Values, name, value string) {
	if value != "" {
		p.Set(name, value)
	}
}

// complete offers the names of the schemas, and then tag names with a "=".
func (q *question) complete(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	c, err := q.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, err := c.schemas(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var words []string
	if len(args) == 0 {
		for _, s := range all {
			words = append(words, s.Name)
		}
		return words, cobra.ShellCompDirectiveNoFileComp
	}
	if i := slices.IndexFunc(all, func(s schema) bool { return s.Name == args[0] }); i >= 0 {
		for _, tag := range all[i].Tags {
			words = append(words, tag+"=")
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// copyAnswer prints the answer as it came.
func (c *client) copyAnswer(ctx context.Context, w io.Writer, path string, parameters url.Values) error {
	return c.get(ctx, path, parameters, func(r io.Reader) error {
		_, err := io.Copy(w, r)
		return err
	})
}
