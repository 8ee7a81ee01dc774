package grafolean

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/weirhq/weir/internal/inventory"
)

// authenticate finds out who asks (section 4.1). A header wins over the parameter b.
func (c *call) authenticate() (*inventory.User, error) {
	header := c.r.Header.Get("Authorization")
	if header == "" {
		return c.byToken(c.r.URL.Query().Get("b"))
	}
	if token, ok := strings.CutPrefix(header, "Token "); ok {
		return c.byToken(token)
	}
	claims, err := c.s.keys.read(header, c.s.now(), 0)
	if err != nil {
		return nil, errDenied
	}
	return c.byID(claims.User)
}

func (c *call) byToken(token string) (*inventory.User, error) {
	if len(token) != 36 || !c.s.inventory.Exists() {
		return nil, errDenied
	}
	user, err := c.s.inventory.ByToken(c.ctx, token)
	return user, denied(err)
}

func (c *call) byID(id int64) (*inventory.User, error) {
	user, err := c.s.inventory.User(c.ctx, id)
	return user, denied(err)
}

func denied(err error) error {
	if errors.Is(err, inventory.ErrNotFound) {
		return errDenied
	}
	return err
}

// How long things of the authentication are good.
const (
	sessionLife  = 600 * time.Second // of what login gives, and then until it cannot be refreshed any more
	keyLife      = time.Hour         // of a key, before the next one is used
	loginsAtOnce = 10                // failed ones of one address and user name
	loginsPer    = time.Minute
)

// claims are what a session says.
type claims struct {
	User    int64  `json:"user_id"`
	Session string `json:"session_id"`
	jwt.RegisteredClaims
}

// signingKeys sign sessions. They live in memory: after a restart persons log in again.
type signingKeys struct {
	mu   sync.Mutex
	next int
	keys []signingKey // oldest first
}

type signingKey struct {
	id     string
	secret []byte
	made   time.Time
}

// current is the key to sign with.
func (k *signingKeys) current(now time.Time) signingKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	if n := len(k.keys); n > 0 && now.Sub(k.keys[n-1].made) < keyLife {
		return k.keys[n-1]
	}
	k.next++
	made := signingKey{strconv.Itoa(k.next), make([]byte, 32), now}
	rand.Read(made.secret)
	for len(k.keys) > 0 && now.Sub(k.keys[0].made) > keyLife+2*sessionLife {
		k.keys = k.keys[1:]
	}
	k.keys = append(k.keys, made)
	return made
}

func (k *signingKeys) byID(id string) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range k.keys {
		if key.id == id {
			return key.secret
		}
	}
	return nil
}

// sign makes the value of the header Authorization for a session.
func (k *signingKeys) sign(user int64, session string, now time.Time) (header string, expires time.Time, err error) {
	key := k.current(now)
	expires = now.Add(sessionLife).Truncate(time.Second)
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{user, session, jwt.RegisteredClaims{ExpiresAt: jwt.NewNumericDate(expires)}}).SignedString(key.secret)
	return "Bearer " + key.id + ":" + text, expires, err
}

// read checks the header of a session that may have ended leeway ago.
func (k *signingKeys) read(header string, now time.Time, leeway time.Duration) (*claims, error) {
	rest, ok := strings.CutPrefix(header, "Bearer ")
	id, text, cut := strings.Cut(rest, ":")
	secret := k.byID(id)
	if !ok || !cut || secret == nil {
		return nil, errDenied
	}
	var c claims
	_, err := jwt.ParseWithClaims(text, &c, func(*jwt.Token) (any, error) { return secret, nil }, jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(func() time.Time { return now }), jwt.WithLeeway(leeway))
	return &c, err
}

// attempts counts failed logins, so that passwords cannot be tried out.
type attempts struct {
	mu     sync.Mutex
	failed map[string][]time.Time
}

// maxAttempted bounds who is remembered.
const maxAttempted = 10_000

// allowed reports whether one more may be tried.
func (a *attempts) allowed(who string, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.recent(who, now)) < loginsAtOnce
}

// note remembers one that failed.
func (a *attempts) note(who string, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failed == nil || len(a.failed) >= maxAttempted {
		a.failed = make(map[string][]time.Time)
	}
	a.failed[who] = append(a.recent(who, now), now)
}

func (a *attempts) recent(who string, now time.Time) []time.Time {
	times := a.failed[who]
	for len(times) > 0 && now.Sub(times[0]) >= loginsPer {
		times = times[1:]
	}
	if len(times) == 0 {
		delete(a.failed, who)
	}
	return times
}

// login gives a person a session.
func login(c *call) error {
	var body struct{ Username, Password *string }
	if err := c.typed(&body, "username", "password"); err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(c.r.RemoteAddr)
	who := host + " " + *body.Username
	if !c.s.logins.allowed(who, c.s.now()) {
		return &answer{status: http.StatusTooManyRequests, detail: "Too many failed logins, try again in a minute", after: int(loginsPer / time.Second)}
	}
	id, err := c.s.inventory.ByPassword(c.ctx, *body.Username, *body.Password)
	if errors.Is(err, inventory.ErrNotFound) {
		c.s.logins.note(who, c.s.now())
		return failed(http.StatusUnauthorized, "Invalid credentials")
	}
	if err != nil {
		return err
	}
	var session [16]byte
	rand.Read(session[:])
	return c.session(id, hex.EncodeToString(session[:]), false)
}

// refresh makes a session last longer.
func refresh(c *call) error {
	of, err := c.s.keys.read(c.r.Header.Get("Authorization"), c.s.now(), sessionLife)
	if err != nil {
		return failed(http.StatusUnauthorized, "Access denied")
	}
	return c.session(of.User, of.Session, true)
}

func (c *call) session(user int64, session string, withEnd bool) error {
	u, err := c.s.inventory.User(c.ctx, user)
	if errors.Is(err, inventory.ErrNotFound) {
		return failed(http.StatusUnauthorized, "Access denied")
	}
	if err != nil {
		return err
	}
	header, expires, err := c.s.keys.sign(user, session, c.s.now())
	if err != nil {
		return err
	}
	c.w.Header().Set("X-JWT-Token", header)
	c.w.Header().Set("Access-Control-Expose-Headers", "X-JWT-Token")
	data := map[string]any{"user_id": user, "session_id": session, "permissions": u.Permissions}
	if withEnd {
		data["exp"] = expires.Unix()
	}
	return c.ok(data)
}

// statusInfo is what bots wait for before they begin (section 2).
func statusInfo(c *call) error {
	exists, err := c.s.inventory.HasUsers(c.ctx)
	if err != nil {
		return err
	}
	c.w.Header().Set("Access-Control-Allow-Origin", "*")
	return c.ok(struct {
		Alive     bool     `json:"alive"`
		Migration bool     `json:"db_migration_needed"`
		Version   int      `json:"db_version"`
		Users     bool     `json:"user_exists"`
		Domains   []string `json:"cors_domains"`
		Hostname  string   `json:"mqtt_ws_hostname"`
		Port      string   `json:"mqtt_ws_port"`
		SignUp    bool     `json:"enable_signup"`
	}{Alive: true, Version: 30, Users: exists, Domains: []string{}})
}

// addFirst makes the first person, who may do everything.
func addFirst(c *call) error {
	p, password, err := c.personBody(true)
	if err != nil {
		return err
	}
	id, err := c.s.inventory.AddFirst(c.ctx, p, password)
	if errors.Is(err, inventory.ErrConflict) {
		return errDenied
	}
	if err != nil {
		return err
	}
	return c.created(id)
}
