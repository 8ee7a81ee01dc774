package inventory

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Config says where an Inventory lives.
type Config struct {
	// Path is the file of the database. It is created, with its folder, when it is needed first.
	Path string

	// Secret is what the key of the secrets is made from, at least 16 bytes. When it is empty it
	// is read from the file Path with ".key" in place of its extension, which is created for the user alone.
	Secret string
}

// Errors of an Inventory.
var (
	// ErrNotFound is when there is no such thing, or it belongs to another account.
	ErrNotFound = errors.New("not found")

	// ErrConflict is when a name is taken.
	ErrConflict = errors.New("the name is taken")

	// ErrUnavailable is when the database cannot be used now.
	ErrUnavailable = errors.New("the inventory is unavailable")
)

// InvalidError is why something cannot be as it was asked for.
type InvalidError struct{ Text string }

// Error implements error.
func (e *InvalidError) Error() string { return e.Text }

func invalid(format string, args ...any) error { return &InvalidError{fmt.Sprintf(format, args...)} }

// Inventory is all that is known. Its methods may be called from any goroutine.
type Inventory struct {
	config Config
	log    *slog.Logger
	now    func() time.Time

	mu      sync.Mutex
	db      *sql.DB // nil before it is opened
	secrets *box
	failure error     // of the last attempt to open it
	failed  time.Time // when that was
	closed  bool
}

// reopenEvery is how long a failure to open the database stands.
const reopenEvery = 5 * time.Second

// New returns an Inventory. Nothing is opened before it is asked something.
func New(config Config, log *slog.Logger) *Inventory {
	return &Inventory{config: config, log: log, now: time.Now}
}

// Exists reports whether anything was ever kept: without a database nothing needs to be asked.
func (in *Inventory) Exists() bool {
	_, err := os.Stat(in.config.Path)
	return err == nil
}

// Open opens the database, which other methods do when they need it. The error says why it cannot be used.
func (in *Inventory) Open(ctx context.Context) error {
	_, err := in.open(ctx)
	return err
}

// Close closes the database for good.
func (in *Inventory) Close() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
	if in.db == nil {
		return nil
	}
	err := in.db.Close()
	in.db = nil
	return err
}

// open returns the database.
func (in *Inventory) open(ctx context.Context) (*sql.DB, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case in.closed:
		return nil, fmt.Errorf("%w: it is closed", ErrUnavailable)
	case in.db != nil:
		return in.db, nil
	case in.failure != nil && in.now().Sub(in.failed) < reopenEvery:
		return nil, in.failure
	}
	db, secrets, err := in.begin(ctx)
	if err != nil {
		if ctx.Err() == nil {
			in.failure, in.failed = fmt.Errorf("%w: cannot open %s: %w; it is left as it is", ErrUnavailable, in.config.Path, err), in.now()
			in.log.Error("cannot use the inventory", "error", in.failure)
			return nil, in.failure
		}
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	in.db, in.secrets, in.failure = db, secrets, nil
	return db, nil
}

// busyPatience is how long another program may hold the database.
const busyPatience = 5 * time.Second

func (in *Inventory) begin(ctx context.Context) (_ *sql.DB, _ *box, err error) {
	if err := os.MkdirAll(filepath.Dir(in.config.Path), 0o700); err != nil {
		return nil, nil, err
	}
	f, err := os.OpenFile(in.config.Path, os.O_CREATE|os.O_RDWR, 0o600) // SQLite would make it readable for all
	if err != nil {
		return nil, nil, err
	}
	f.Close()
	options := url.Values{"_pragma": {
		fmt.Sprintf("busy_timeout(%d)", busyPatience.Milliseconds()), "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(ON)", "cache_size(-2000)",
	}, "_txlock": {"immediate"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: in.config.Path}).EscapedPath()+"?"+options.Encode())
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			db.Close()
		}
	}()
	db.SetMaxOpenConns(4)
	db.SetMaxIdleConns(4)
	var verdict string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return nil, nil, err
	}
	if verdict != "ok" {
		return nil, nil, fmt.Errorf("it is damaged: %s", verdict)
	}
	if err := migrate(ctx, db); err != nil {
		return nil, nil, err
	}
	secrets, err := in.key(ctx, db)
	if err != nil {
		return nil, nil, err
	}
	return db, secrets, nil
}

// migrations bring a database from one version to the next. What was released is never changed here.
var migrations = []string{`
CREATE TABLE accounts (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL) STRICT;
CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT) STRICT;
CREATE TABLE bots (
	user INTEGER PRIMARY KEY REFERENCES users ON DELETE CASCADE, name TEXT NOT NULL, protocol TEXT, account INTEGER REFERENCES accounts ON DELETE CASCADE,
	config TEXT, insert_time INTEGER NOT NULL, last_login INTEGER, token_hash BLOB NOT NULL UNIQUE, token BLOB NOT NULL) STRICT;
CREATE INDEX bots_account ON bots (account);
CREATE TABLE persons (
	user INTEGER PRIMARY KEY REFERENCES users ON DELETE CASCADE, name TEXT NOT NULL, username TEXT NOT NULL UNIQUE, email TEXT NOT NULL,
	timezone TEXT NOT NULL, password TEXT NOT NULL) STRICT;
CREATE TABLE permissions (
	id INTEGER PRIMARY KEY AUTOINCREMENT, user INTEGER NOT NULL REFERENCES users ON DELETE CASCADE, prefix TEXT, methods TEXT) STRICT;
CREATE INDEX permissions_user ON permissions (user);
CREATE TABLE credentials (
	id INTEGER PRIMARY KEY AUTOINCREMENT, account INTEGER NOT NULL REFERENCES accounts ON DELETE CASCADE, name TEXT NOT NULL, protocol TEXT NOT NULL,
	details BLOB NOT NULL, UNIQUE (account, name)) STRICT;
CREATE TABLE sensors (
	id INTEGER PRIMARY KEY AUTOINCREMENT, account INTEGER NOT NULL REFERENCES accounts ON DELETE CASCADE, name TEXT NOT NULL, protocol TEXT NOT NULL,
	default_interval REAL, details TEXT NOT NULL, UNIQUE (account, name)) STRICT;
CREATE TABLE entities (
	id INTEGER PRIMARY KEY AUTOINCREMENT, account INTEGER NOT NULL REFERENCES accounts ON DELETE CASCADE, name TEXT NOT NULL, entity_type TEXT NOT NULL,
	parent INTEGER REFERENCES entities ON DELETE CASCADE, details TEXT NOT NULL) STRICT;
CREATE INDEX entities_account ON entities (account);
CREATE INDEX entities_parent ON entities (parent);
CREATE TABLE protocols (
	entity INTEGER NOT NULL REFERENCES entities ON DELETE CASCADE, protocol TEXT NOT NULL, credential INTEGER NOT NULL REFERENCES credentials ON DELETE CASCADE,
	bot INTEGER REFERENCES bots ON DELETE SET NULL, PRIMARY KEY (entity, protocol)) STRICT, WITHOUT ROWID;
CREATE INDEX protocols_credential ON protocols (credential);
CREATE INDEX protocols_bot ON protocols (bot);
CREATE TABLE polls (
	entity INTEGER NOT NULL, protocol TEXT NOT NULL, position INTEGER NOT NULL, sensor INTEGER NOT NULL REFERENCES sensors ON DELETE CASCADE, interval REAL,
	PRIMARY KEY (entity, protocol, position), UNIQUE (entity, protocol, sensor),
	FOREIGN KEY (entity, protocol) REFERENCES protocols ON DELETE CASCADE) STRICT, WITHOUT ROWID;
CREATE INDEX polls_sensor ON polls (sensor);
CREATE TABLE paths (
	id INTEGER PRIMARY KEY AUTOINCREMENT, account INTEGER NOT NULL REFERENCES accounts ON DELETE CASCADE, path TEXT NOT NULL, UNIQUE (account, path)) STRICT;
CREATE TABLE settings (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
`}

// migrate brings the database to the newest version.
func migrate(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	version := 0
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	switch {
	case version > len(migrations):
		return fmt.Errorf("it was written by a newer Weir, which has version %d of it; this one has %d", version, len(migrations))
	case version == len(migrations):
		return nil
	}
	for _, migration := range migrations[version:] {
		if _, err := tx.ExecContext(ctx, migration); err != nil {
			return fmt.Errorf("cannot bring it to a new version: %w", err)
		}
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", len(migrations))); err != nil {
		return err
	}
	return tx.Commit()
}

// key finds the key of the secrets, and makes sure it is the one they were encrypted with.
func (in *Inventory) key(ctx context.Context, db *sql.DB) (*box, error) {
	secret := in.config.Secret
	if secret == "" {
		path := strings.TrimSuffix(in.config.Path, filepath.Ext(in.config.Path)) + ".key"
		var err error
		if secret, err = keyFile(path); err != nil {
			return nil, err
		}
	}
	b, err := newBox(secret)
	if err != nil {
		return nil, err
	}
	var proof []byte
	switch err := db.QueryRowContext(ctx, "SELECT value FROM settings WHERE name = 'key'").Scan(&proof); {
	case errors.Is(err, sql.ErrNoRows):
		_, err := db.ExecContext(ctx, "INSERT INTO settings VALUES ('key', ?)", b.seal([]byte("weir"), "settings"))
		return b, err
	case err != nil:
		return nil, err
	}
	if text, err := b.open(proof, "settings"); err != nil || string(text) != "weir" {
		return nil, errors.New("its secrets were encrypted with another key")
	}
	return b, nil
}

// keyFile reads the secret in a file, which is made when it is missing.
func keyFile(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(data)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	secret := randomText(32)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(secret + "\n")
	return secret, errors.Join(err, f.Sync(), f.Close())
}

// query calls scan for every row.
func (in *Inventory) query(ctx context.Context, scan func(row *sql.Rows) error, question string, args ...any) error {
	db, err := in.open(ctx)
	if err != nil {
		return err
	}
	return rows(ctx, db, scan, question, args...)
}

// asker is a database or a transaction.
type asker interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func rows(ctx context.Context, db asker, scan func(row *sql.Rows) error, question string, args ...any) error {
	found, err := db.QueryContext(ctx, question, args...)
	if err != nil {
		return unavailable(err)
	}
	defer found.Close()
	for found.Next() {
		if err := scan(found); err != nil {
			return unavailable(err)
		}
	}
	return unavailable(found.Err())
}

// one is query for what there is once: ErrNotFound when there is none.
func (in *Inventory) one(ctx context.Context, scan func(row *sql.Rows) error, question string, args ...any) error {
	n := 0
	err := in.query(ctx, func(row *sql.Rows) error { n++; return scan(row) }, question, args...)
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}

// change runs f in a transaction: all of it happens, or nothing.
func (in *Inventory) change(ctx context.Context, f func(tx *sql.Tx) error) error {
	db, err := in.open(ctx)
	if err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return unavailable(err)
	}
	defer tx.Rollback()
	if err := f(tx); err != nil {
		return unavailable(err)
	}
	return unavailable(tx.Commit())
}

// insert adds a row and returns its id.
func insert(ctx context.Context, tx *sql.Tx, statement string, args ...any) (int64, error) {
	result, err := tx.ExecContext(ctx, statement, args...)
	if err != nil {
		return 0, err
	}
	return result.LastInsertId()
}

// affect changes one row: ErrNotFound when there is none.
func affect(ctx context.Context, tx *sql.Tx, statement string, args ...any) error {
	result, err := tx.ExecContext(ctx, statement, args...)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, ErrNotFound)
	}
	return nil
}

// unavailable says of an error of the database what it means: one of the errors of this
// package, which stay as they are.
func unavailable(err error) error {
	var wrong *InvalidError
	var of *sqlite.Error
	switch {
	case err == nil, errors.As(err, &wrong), errors.Is(err, ErrNotFound), errors.Is(err, ErrConflict), errors.Is(err, ErrUnavailable):
		return err
	case errors.As(err, &of) && (of.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || of.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY):
		return ErrConflict
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
