package api

import (
	"cmp"
	_ "embed"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/bbdo"
	"github.com/weirhq/weir/internal/telemetry"
)

type statusJSON struct {
	Version  string            `json:"version"`
	Now      int64             `json:"now"`
	Started  int64             `json:"started"`
	Uptime   int64             `json:"uptime"` // seconds
	Ready    bool              `json:"ready"`
	Reason   string            `json:"reason,omitempty"` // why it is not ready
	Sources  []sourceJSON      `json:"sources"`
	Ledger   []accountJSON     `json:"ledger"`
	Balanced bool              `json:"balanced"`
	Overflow []telemetry.Spent `json:"overflow"` // what was added up in buckets because budgets were spent
	Store    *storeJSON        `json:"store"`    // null without one
}

type sourceJSON struct {
	Name        string                  `json:"name"`
	Listen      []string                `json:"listen"`
	Connect     string                  `json:"connect,omitempty"`
	Waiting     string                  `json:"waiting,omitempty"`
	LastInput   int64                   `json:"last_input,omitempty"`
	LastFlush   int64                   `json:"last_flush,omitempty"`
	NextFlush   int64                   `json:"next_flush,omitempty"`
	Connections []bbdo.ConnectionStatus `json:"connections,omitempty"`
}

// connections are those of all sources.
func (s statusJSON) Connections() (all []bbdo.ConnectionStatus) {
	for _, source := range s.Sources {
		all = append(all, source.Connections...)
	}
	return all
}

type accountJSON struct {
	telemetry.Account
	Balanced   bool  `json:"balanced"`
	Difference int64 `json:"difference"` // received and neither passed, buffered nor discarded: on its way, or lost when it stays
}

type storeJSON struct {
	Schemas     int64  `json:"schemas"`
	Series      int64  `json:"series"`
	DiskBytes   int64  `json:"disk_bytes"`
	MemoryBytes int64  `json:"memory_bytes"`
	Failure     string `json:"failure,omitempty"` // why nothing can be stored now
}

// now is everything the status page shows. It works while the store does not.
func (s *server) now(r *http.Request) statusJSON {
	now := time.Now()
	answer := statusJSON{Version: s.Version, Now: now.Unix(), Ready: true, Balanced: true, Sources: []sourceJSON{}, Ledger: []accountJSON{}, Overflow: s.Registry.Spent()}
	if !s.Started.IsZero() {
		answer.Started, answer.Uptime = s.Started.Unix(), int64(now.Sub(s.Started)/time.Second)
	}
	if err := s.notReady(); err != nil {
		answer.Ready, answer.Reason = false, err.Error()
	}
	if s.Sources != nil {
		for _, source := range s.Sources() {
			listen := append([]string{}, source.Listen...)
			answer.Sources = append(answer.Sources, sourceJSON{
				source.Name, listen, source.Connect, source.Waiting, unix(source.LastInput), unix(source.LastFlush), unix(source.NextFlush), source.Connections,
			})
		}
	}
	for _, account := range s.Registry.Accounts() {
		difference := account.Received - account.Passed - account.Buffered - account.Lost()
		answer.Ledger = append(answer.Ledger, accountJSON{account, account.Balanced(), difference})
		answer.Balanced = answer.Balanced && account.Balanced()
	}
	if s.Stats != nil && s.Catalog != nil && answer.Ready {
		stats := s.Stats()
		schemas, err := s.Catalog.Schemas(r.Context())
		answer.Store = &storeJSON{Schemas: int64(len(schemas)), Series: stats.Series, DiskBytes: stats.DiskBytes, MemoryBytes: stats.MemoryBytes}
		if err = cmp.Or(stats.Failure, err); err != nil {
			answer.Store.Failure = err.Error()
		}
	}
	return answer
}

func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func (s *server) status(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, s.now(r))
}

//go:embed status.html
var pageText string

var pageTemplate = template.Must(template.New("status").Funcs(template.FuncMap{
	"clock": clock, "age": age, "count": count, "unix": unix, "bytes": bytesText, "join": strings.Join,
	"span": func(seconds int64) string { return span(time.Duration(seconds) * time.Second) },
}).Parse(pageText))

// page is the same as HTML.
func (s *server) page(w http.ResponseWriter, r *http.Request) {
	var b strings.Builder
	if err := pageTemplate.Execute(&b, s.now(r)); err != nil {
		s.Log.Error("cannot show the status", "error", err)
		writeText(w, http.StatusInternalServerError, "cannot show the status: "+err.Error()+"\n")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte(b.String()))
}
