package inventory

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
)

// Credential is what a bot shows a device. Its Details are kept encrypted.
type Credential struct {
	ID       int64           `json:"id"`
	Name     string          `json:"name"`
	Protocol string          `json:"protocol"`
	Details  json.RawMessage `json:"details"`
}

func (c *Credential) check() error {
	if c.Name == "" || c.Protocol == "" {
		return invalid("a credential must have a name and a protocol")
	}
	return checkDetails(c.Details)
}

// checkDetails returns why details cannot be kept: they must be JSON.
func checkDetails(details json.RawMessage) error {
	if !json.Valid(details) {
		return invalid("details must be JSON")
	}
	return nil
}

// Credentials are those of an account, by id.
func (in *Inventory) Credentials(ctx context.Context, account int64) ([]Credential, error) {
	all := []Credential{}
	err := in.query(ctx, func(row *sql.Rows) error {
		c, err := in.scanCredential(row)
		all = append(all, c)
		return err
	}, "SELECT id, name, protocol, details FROM credentials WHERE account = ? ORDER BY id", account)
	return all, err
}

// CredentialsOf are the ids of the credentials with which a bot polls entities of an account, in order: where the entity names the
// bot, or names none and is polled by the bot's protocol.
func (in *Inventory) CredentialsOf(ctx context.Context, account int64, b *Bot) (ids []int64, err error) {
	err = in.query(ctx, func(row *sql.Rows) error {
		var id int64
		err := row.Scan(&id)
		ids = append(ids, id)
		return err
	}, `SELECT DISTINCT p.credential FROM protocols p JOIN entities e ON e.id = p.entity
		WHERE e.account = ? AND (p.bot = ? OR p.bot IS NULL AND (? IS NULL OR p.protocol = ?)) ORDER BY p.credential`, account, b.ID, b.Protocol, b.Protocol)
	return ids, err
}

// Credential is one of an account.
func (in *Inventory) Credential(ctx context.Context, account, id int64) (c Credential, err error) {
	err = in.one(ctx, func(row *sql.Rows) error {
		c, err = in.scanCredential(row)
		return err
	}, "SELECT id, name, protocol, details FROM credentials WHERE account = ? AND id = ?", account, id)
	return c, err
}

func (in *Inventory) scanCredential(row *sql.Rows) (c Credential, err error) {
	var sealed []byte
	if err := row.Scan(&c.ID, &c.Name, &c.Protocol, &sealed); err != nil {
		return c, err
	}
	c.Details, err = in.secrets.open(sealed, "credential")
	if err != nil {
		return c, fmt.Errorf("cannot read credential %d: %w", c.ID, err)
	}
	return c, nil
}

// AddCredential adds one to an account and returns its id; its own is ignored. ErrConflict is when the name is taken.
func (in *Inventory) AddCredential(ctx context.Context, account int64, c *Credential) (id int64, err error) {
	err = in.change(ctx, func(tx *sql.Tx) error {
		if err := exists(ctx, tx, "accounts", account); err != nil {
			return err
		}
		id, err = in.addCredential(ctx, tx, account, c)
		return err
	})
	return id, err
}

func (in *Inventory) addCredential(ctx context.Context, tx *sql.Tx, account int64, c *Credential) (int64, error) {
	if err := c.check(); err != nil {
		return 0, err
	}
	return insert(ctx, tx, "INSERT INTO credentials (account, name, protocol, details) VALUES (?, ?, ?, ?)", account, c.Name, c.Protocol, in.secrets.seal(c.Details, "credential"))
}

// ChangeCredential replaces the one with c.ID.
func (in *Inventory) ChangeCredential(ctx context.Context, account int64, c *Credential) error {
	if err := c.check(); err != nil {
		return err
	}
	return in.change(ctx, func(tx *sql.Tx) error {
		err := affect(ctx, tx, "UPDATE credentials SET name = ?, protocol = ?, details = ? WHERE account = ? AND id = ?", c.Name, c.Protocol, in.secrets.seal(c.Details, "credential"), account, c.ID)
		if err != nil {
			return err
		}
		return unused(ctx, tx, "SELECT count(*) FROM protocols WHERE credential = ? AND protocol <> ?", c.ID, c.Protocol)
	})
}

// unused fails when something uses a credential or sensor whose protocol is changed.
func unused(ctx context.Context, tx *sql.Tx, question string, id int64, protocol string) error {
	n := 0
	if err := tx.QueryRowContext(ctx, question, id, protocol).Scan(&n); err != nil {
		return err
	}
	if n > 0 {
		return invalid("the protocol cannot be %q: entities use it for another one", protocol)
	}
	return nil
}

// DeleteCredential removes one; entities that used it are not polled by its protocol any more.
func (in *Inventory) DeleteCredential(ctx context.Context, account, id int64) error {
	return in.change(ctx, func(tx *sql.Tx) error {
		return affect(ctx, tx, "DELETE FROM credentials WHERE account = ? AND id = ?", account, id)
	})
}

// exists returns ErrNotFound unless a table has a row with an id.
func exists(ctx context.Context, tx *sql.Tx, table string, id int64) error {
	n := 0
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM "+table+" WHERE id = ?", id).Scan(&n); err != nil {
		return err
	}
	if n == 0 {
		return ErrNotFound
	}
	return nil
}
