package grafolean

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/weirhq/weir/internal/inventory"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

// Schema is where values live: the account by its number, and the path. Values are
// kept under whole seconds.
var Schema = &timeseries.Schema{Name: "collector:value", Step: 60, Type: timeseries.Gauge, Tags: []string{"account", "path"}, Metrics: []string{"value"}}

// Config is what a Server answers from.
type Config struct {
	Inventory *inventory.Inventory
	Driver    timeseries.Driver // nil when no series are kept: values are answered with 503
	Registry  *telemetry.Registry
	Log       *slog.Logger
}

// Server answers everything below /api but /api/v1 and /api/v2. Its methods may be called from any goroutine.
type Server struct {
	inventory *inventory.Inventory
	driver    timeseries.Driver
	reader    timeseries.Reader // nil when the driver gives no samples
	log       *slog.Logger
	warn      *telemetry.Limited
	now       func() time.Time

	keys   signingKeys
	logins attempts

	ledger                     *telemetry.Ledger
	invalid, refused, unstored *telemetry.Discard
}

// New returns a Server. registry takes one Server.
func New(config Config) *Server {
	s := &Server{inventory: config.Inventory, driver: config.Driver, log: config.Log, warn: telemetry.NewLimited(config.Log, time.Minute, 5), now: time.Now}
	s.reader, _ = config.Driver.(timeseries.Reader)
	s.ledger = config.Registry.Ledger("collector", "values")
	s.invalid, s.refused, s.unstored = s.ledger.Reason("invalid"), s.ledger.Reason("refused"), s.ledger.Reason("failed")
	return s
}

// Patterns are the paths a Server answers, as http.ServeMux has them. It checks itself who asks.
func (s *Server) Patterns() []string {
	var all []string
	for _, first := range []string{"status", "profile", "accounts", "bots", "persons", "users", "admin", "auth"} {
		all = append(all, "/api/"+first, "/api/"+first+"/")
	}
	return all
}

var _ http.Handler = (*Server)(nil)
