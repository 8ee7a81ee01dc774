package inventory

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// Bot is a user that is a program (section 4.4).
type Bot struct {
	ID            int64   `json:"id"`
	Name          string  `json:"name"`
	Protocol      *string `json:"protocol"`        // what it polls; nil for a custom bot
	TiedToAccount *int64  `json:"tied_to_account"` // nil for one of the whole system
	Config        *string `json:"config"`
	InsertTime    int64   `json:"insert_time"` // Unix seconds
	LastLogin     *int64  `json:"last_login"`  // Unix seconds, nil before the first time
}

// Person is a user who logs in with a password.
type Person struct {
	ID       int64  `json:"user_id"`
	Name     string `json:"name"`
	Username string `json:"username"`
	Email    string `json:"email"`
	Timezone string `json:"timezone"`
}

// User is who asks: one of Bot and Person is not nil.
type User struct {
	ID          int64
	Bot         *Bot
	Person      *Person
	Permissions []Permission
}

// Permission allows requests (section 4.2).
type Permission struct {
	ID             int64    `json:"id"`
	ResourcePrefix *string  `json:"resource_prefix"` // without a slash at the end; nil for everything
	Methods        []string `json:"methods"`         // nil for all
}

// Methods are those a Permission can name.
var Methods = []string{"GET", "POST", "PUT", "DELETE"}

// covers reports whether a permission is for a resource.
func (p *Permission) covers(resource string) bool {
	if p.ResourcePrefix == nil {
		return true
	}
	rest, ok := strings.CutPrefix(resource, *p.ResourcePrefix)
	return ok && (rest == "" || rest[0] == '/')
}

// Allows reports whether the user may do a request. resource is the path below /api without slashes at its ends.
func (u *User) Allows(method, resource string) bool {
	if method == "HEAD" {
		method = "GET"
	}
	return slices.ContainsFunc(u.Permissions, func(p Permission) bool {
		return p.covers(resource) && (p.Methods == nil || slices.Contains(p.Methods, method))
	})
}

// MayGrant reports whether the user may give somebody a permission: one of its own must cover it.
func (u *User) MayGrant(wanted Permission) bool {
	return slices.ContainsFunc(u.Permissions, func(own Permission) bool {
		prefix := own.ResourcePrefix == nil || wanted.ResourcePrefix != nil && own.covers(*wanted.ResourcePrefix)
		methods := own.Methods == nil || wanted.Methods != nil && !slices.ContainsFunc(wanted.Methods, func(m string) bool { return !slices.Contains(own.Methods, m) })
		return prefix && methods
	})
}

const botColumns = "user, name, protocol, account, config, insert_time, last_login"

func scanBot(row *sql.Rows) (b Bot, err error) {
	err = row.Scan(&b.ID, &b.Name, &b.Protocol, &b.TiedToAccount, &b.Config, &b.InsertTime, &b.LastLogin)
	return b, err
}

// Bots are those of an account, or with nil those of the whole system, by id.
func (in *Inventory) Bots(ctx context.Context, account *int64) ([]Bot, error) {
	all := []Bot{}
	err := in.query(ctx, func(row *sql.Rows) error {
		b, err := scanBot(row)
		all = append(all, b)
		return err
	}, "SELECT "+botColumns+" FROM bots WHERE account IS ? ORDER BY user", account)
	return all, err
}

// Bot is one of an account, or with nil one of the whole system.
func (in *Inventory) Bot(ctx context.Context, account *int64, id int64) (b Bot, err error) {
	err = in.one(ctx, func(row *sql.Rows) error {
		b, err = scanBot(row)
		return err
	}, "SELECT "+botColumns+" FROM bots WHERE account IS ? AND user = ?", account, id)
	return b, err
}

// AddBot adds a bot to b.TiedToAccount, or to the system, with a new token. It returns its id.
func (in *Inventory) AddBot(ctx context.Context, b *Bot) (id int64, err error) {
	if b.Name == "" {
		return 0, invalid("a bot must have a name")
	}
	err = in.change(ctx, func(tx *sql.Tx) error {
		if b.TiedToAccount != nil {
			if err := exists(ctx, tx, "accounts", *b.TiedToAccount); err != nil {
				return err
			}
		}
		if id, err = insert(ctx, tx, "INSERT INTO users DEFAULT VALUES"); err != nil {
			return err
		}
		token := newToken()
		_, err := tx.ExecContext(ctx, "INSERT INTO bots ("+botColumns+", token_hash, token) VALUES (?, ?, ?, ?, ?, ?, NULL, ?, ?)",
			id, b.Name, b.Protocol, b.TiedToAccount, b.Config, in.now().Unix(), in.secrets.hash(token), in.secrets.seal([]byte(token), "token"))
		return err
	})
	return id, err
}

// ChangeBot replaces name, protocol and configuration of the bot with b.ID of b.TiedToAccount or the system.
func (in *Inventory) ChangeBot(ctx context.Context, b *Bot) error {
	if b.Name == "" {
		return invalid("a bot must have a name")
	}
	return in.change(ctx, func(tx *sql.Tx) error {
		return affect(ctx, tx, "UPDATE bots SET name = ?, protocol = ?, config = ? WHERE account IS ? AND user = ?", b.Name, b.Protocol, b.Config, b.TiedToAccount, b.ID)
	})
}

// DeleteBot removes a bot. Entities it polled are polled by every bot of the protocol.
func (in *Inventory) DeleteBot(ctx context.Context, account *int64, id int64) error {
	return in.change(ctx, func(tx *sql.Tx) error {
		if err := affect(ctx, tx, "DELETE FROM bots WHERE account IS ? AND user = ?", account, id); err != nil {
			return err
		}
		return affect(ctx, tx, "DELETE FROM users WHERE id = ?", id)
	})
}

// Token is that of a bot.
func (in *Inventory) Token(ctx context.Context, account *int64, id int64) (token string, err error) {
	err = in.one(ctx, func(row *sql.Rows) error {
		var sealed []byte
		if err := row.Scan(&sealed); err != nil {
			return err
		}
		text, err := in.secrets.open(sealed, "token")
		token = string(text)
		return err
	}, "SELECT token FROM bots WHERE account IS ? AND user = ?", account, id)
	return token, err
}

// newToken is a random UUID.
func newToken() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// loginEvery is how exact LastLogin is.
const loginEvery = 10 * time.Second

// ByToken is the bot with a token, and its permissions. ErrNotFound is when nobody has it.
func (in *Inventory) ByToken(ctx context.Context, token string) (*User, error) {
	if _, err := in.open(ctx); err != nil {
		return nil, err
	}
	var b Bot
	err := in.one(ctx, func(row *sql.Rows) (err error) {
		b, err = scanBot(row)
		return err
	}, "SELECT "+botColumns+" FROM bots WHERE token_hash = ?", in.secrets.hash(token))
	if err != nil {
		return nil, err
	}
	if now := in.now().Unix(); b.LastLogin == nil || now-*b.LastLogin >= int64(loginEvery/time.Second) {
		err := in.change(ctx, func(tx *sql.Tx) error {
			return affect(ctx, tx, "UPDATE bots SET last_login = ? WHERE user = ?", now, b.ID)
		})
		if err != nil {
			return nil, err
		}
		b.LastLogin = &now
	}
	u := &User{ID: b.ID, Bot: &b}
	u.Permissions, err = in.Permissions(ctx, b.ID)
	return u, err
}

// Persons are all persons, by id.
func (in *Inventory) Persons(ctx context.Context) ([]Person, error) {
	all := []Person{}
	err := in.query(ctx, func(row *sql.Rows) error {
		var p Person
		err := row.Scan(&p.ID, &p.Name, &p.Username, &p.Email, &p.Timezone)
		all = append(all, p)
		return err
	}, "SELECT user, name, username, email, timezone FROM persons ORDER BY user")
	return all, err
}

// Person is the person with an id.
func (in *Inventory) Person(ctx context.Context, id int64) (p Person, err error) {
	err = in.one(ctx, func(row *sql.Rows) error { return row.Scan(&p.ID, &p.Name, &p.Username, &p.Email, &p.Timezone) },
		"SELECT user, name, username, email, timezone FROM persons WHERE user = ?", id)
	return p, err
}

// Bounds of passwords, in bytes.
const (
	minPassword = 8
	maxPassword = 72 // beyond them bcrypt looks at nothing
)

func hashPassword(password string) (string, error) {
	if len(password) < minPassword || len(password) > maxPassword {
		return "", invalid("a password must have %d to %d bytes", minPassword, maxPassword)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	return string(hash), err
}

func (p *Person) check() error {
	if p.Name == "" || p.Username == "" {
		return invalid("a person must have a name and a user name")
	}
	local, domain, ok := strings.Cut(p.Email, "@")
	if p.Email != "" && (!ok || local == "" || domain == "" || strings.ContainsAny(p.Email, " \t\r\n<>")) {
		return invalid("%q is not an e-mail address", p.Email)
	}
	if _, err := time.LoadLocation(p.Timezone); err != nil {
		return invalid("%q is not a time zone", p.Timezone)
	}
	return nil
}

// AddPerson adds a person and returns the id. ErrConflict is when the user name is taken.
func (in *Inventory) AddPerson(ctx context.Context, p *Person, password string) (id int64, err error) {
	return in.addPerson(ctx, p, password, false)
}

// AddFirst adds the first person, who may do everything. ErrConflict is when there is a user or an account already.
func (in *Inventory) AddFirst(ctx context.Context, p *Person, password string) (id int64, err error) {
	return in.addPerson(ctx, p, password, true)
}

func (in *Inventory) addPerson(ctx context.Context, p *Person, password string, first bool) (id int64, err error) {
	if err := p.check(); err != nil {
		return 0, err
	}
	hash, err := hashPassword(password)
	if err != nil {
		return 0, err
	}
	err = in.change(ctx, func(tx *sql.Tx) error {
		if first {
			n := 0
			if err := tx.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM accounts)").Scan(&n); err != nil {
				return err
			}
			if n > 0 {
				return ErrConflict
			}
		}
		if id, err = insert(ctx, tx, "INSERT INTO users DEFAULT VALUES"); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO persons (user, name, username, email, timezone, password) VALUES (?, ?, ?, ?, ?, ?)",
			id, p.Name, p.Username, p.Email, cmp.Or(p.Timezone, "UTC"), hash)
		if err != nil || !first {
			return err
		}
		_, err = insert(ctx, tx, "INSERT INTO permissions (user) VALUES (?)", id)
		return err
	})
	return id, err
}

// ChangePerson replaces what is known of the person with p.ID, but for the password.
func (in *Inventory) ChangePerson(ctx context.Context, p *Person) error {
	if err := p.check(); err != nil {
		return err
	}
	return in.change(ctx, func(tx *sql.Tx) error {
		return affect(ctx, tx, "UPDATE persons SET name = ?, username = ?, email = ?, timezone = ? WHERE user = ?", p.Name, p.Username, p.Email, cmp.Or(p.Timezone, "UTC"), p.ID)
	})
}

// SetPassword gives a person another password.
func (in *Inventory) SetPassword(ctx context.Context, id int64, password string) error {
	hash, err := hashPassword(password)
	if err != nil {
		return err
	}
	return in.change(ctx, func(tx *sql.Tx) error {
		return affect(ctx, tx, "UPDATE persons SET password = ? WHERE user = ?", hash, id)
	})
}

// DeletePerson removes a person.
func (in *Inventory) DeletePerson(ctx context.Context, id int64) error {
	return in.change(ctx, func(tx *sql.Tx) error {
		if err := affect(ctx, tx, "DELETE FROM persons WHERE user = ?", id); err != nil {
			return err
		}
		return affect(ctx, tx, "DELETE FROM users WHERE id = ?", id)
	})
}

// nobody is a hash that is compared with when there is no such user, which takes as long.
var nobody = "$2a$10$7EqJtq98hPqEX7fNZaFWoOhi8NNSMRFSfjz6dRjrk2jKM2nIvS6hu"

// ByPassword is the id of the person with a user name and a password. ErrNotFound is when one of them is wrong.
func (in *Inventory) ByPassword(ctx context.Context, username, password string) (id int64, err error) {
	hash := nobody
	err = in.one(ctx, func(row *sql.Rows) error { return row.Scan(&id, &hash) }, "SELECT user, password FROM persons WHERE username = ?", username)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return 0, err
	}
	if bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) != nil || err != nil {
		return 0, ErrNotFound
	}
	return id, nil
}

// User is the user with an id, and its permissions.
func (in *Inventory) User(ctx context.Context, id int64) (*User, error) {
	u := &User{ID: id}
	err := in.one(ctx, func(row *sql.Rows) error {
		b, err := scanBot(row)
		u.Bot = &b
		return err
	}, "SELECT "+botColumns+" FROM bots WHERE user = ?", id)
	if errors.Is(err, ErrNotFound) {
		var p Person
		p, err = in.Person(ctx, id)
		u.Person = &p
	}
	if err != nil {
		return nil, err
	}
	u.Permissions, err = in.Permissions(ctx, id)
	return u, err
}

// HasUsers reports whether there is any user.
func (in *Inventory) HasUsers(ctx context.Context) (any bool, err error) {
	if !in.Exists() {
		return false, nil
	}
	err = in.query(ctx, func(row *sql.Rows) error { return row.Scan(&any) }, "SELECT EXISTS (SELECT 1 FROM users)")
	return any, err
}

// Permissions are those of a user, by id.
func (in *Inventory) Permissions(ctx context.Context, user int64) ([]Permission, error) {
	all := []Permission{}
	err := in.query(ctx, func(row *sql.Rows) error {
		var p Permission
		var methods *string
		err := row.Scan(&p.ID, &p.ResourcePrefix, &methods)
		if methods != nil {
			p.Methods = strings.Split(*methods, " ")
		}
		all = append(all, p)
		return err
	}, "SELECT id, prefix, methods FROM permissions WHERE user = ? ORDER BY id", user)
	return all, err
}

// AddPermission gives a user a permission and returns its id; its own is ignored.
func (in *Inventory) AddPermission(ctx context.Context, user int64, p *Permission) (id int64, err error) {
	var methods *string
	if p.Methods != nil {
		if len(p.Methods) == 0 {
			return 0, invalid("a permission must have at least one method, or null for all")
		}
		for i, m := range p.Methods {
			if !slices.Contains(Methods, m) || slices.Contains(p.Methods[:i], m) {
				return 0, invalid("methods must be different ones of %s, not %q", strings.Join(Methods, ", "), m)
			}
		}
		text := strings.Join(p.Methods, " ")
		methods = &text
	}
	prefix := p.ResourcePrefix
	if prefix != nil {
		short := strings.Trim(*prefix, "/")
		if short == "" {
			return 0, invalid("%q is not the beginning of a resource; null stands for everything", *prefix)
		}
		prefix = &short
	}
	err = in.change(ctx, func(tx *sql.Tx) error {
		if err := exists(ctx, tx, "users", user); err != nil {
			return err
		}
		id, err = insert(ctx, tx, "INSERT INTO permissions (user, prefix, methods) VALUES (?, ?, ?)", user, prefix, methods)
		return err
	})
	return id, err
}

// DeletePermission takes a permission from a user.
func (in *Inventory) DeletePermission(ctx context.Context, user, id int64) error {
	return in.change(ctx, func(tx *sql.Tx) error {
		return affect(ctx, tx, "DELETE FROM permissions WHERE user = ? AND id = ?", user, id)
	})
}
