package inventory

import (
	"context"
	"database/sql"
	"encoding/json"
)

// Entity is a device, or a part of one.
type Entity struct {
	ID         int64               `json:"id"`
	Name       string              `json:"name"`
	EntityType string              `json:"entity_type"` // "device", "interface" or any other text
	Parent     *int64              `json:"parent"`
	Details    json.RawMessage     `json:"details"`
	Protocols  map[string]Protocol `json:"protocols"` // how it is polled, by protocol
}

// Protocol is how an entity is polled by one protocol.
type Protocol struct {
	Credential int64  `json:"credential"`
	Bot        *int64 `json:"bot"` // nil for every bot of the protocol
	Sensors    []Poll `json:"sensors"`
}

// Poll is a sensor of an entity.
type Poll struct {
	Sensor   int64    `json:"sensor"`
	Interval *float64 `json:"interval"` // seconds; nil for the default of the sensor
}

func (e *Entity) check() error {
	if e.Name == "" || e.EntityType == "" {
		return invalid("an entity must have a name and a type")
	}
	return checkDetails(e.Details)
}

// Entities are those of an account, by id.
func (in *Inventory) Entities(ctx context.Context, account int64) ([]Entity, error) {
	return in.entities(ctx, "e.account = ?", account)
}

// Entity is one of an account.
func (in *Inventory) Entity(ctx context.Context, account, id int64) (Entity, error) {
	found, err := in.entities(ctx, "e.account = ? AND e.id = ?", account, id)
	switch {
	case err != nil:
		return Entity{}, err
	case len(found) == 0:
		return Entity{}, ErrNotFound
	}
	return found[0], nil
}

// entities are those that meet a condition on e, by id, each with all of its sensors in their order.
func (in *Inventory) entities(ctx context.Context, condition string, args ...any) ([]Entity, error) {
	all := []Entity{}
	err := in.query(ctx, func(row *sql.Rows) error {
		var e Entity
		var details string
		var protocol *string
		var credential, bot, sensor *int64
		var interval *float64
		if err := row.Scan(&e.ID, &e.Name, &e.EntityType, &e.Parent, &details, &protocol, &credential, &bot, &sensor, &interval); err != nil {
			return err
		}
		if len(all) == 0 || all[len(all)-1].ID != e.ID {
			e.Details, e.Protocols = json.RawMessage(details), make(map[string]Protocol)
			all = append(all, e)
		}
		if protocol == nil {
			return nil
		}
		of := all[len(all)-1].Protocols
		p, known := of[*protocol]
		if !known {
			p = Protocol{Credential: *credential, Bot: bot, Sensors: []Poll{}}
		}
		if sensor != nil {
			p.Sensors = append(p.Sensors, Poll{*sensor, interval})
		}
		of[*protocol] = p
		return nil
	}, `SELECT e.id, e.name, e.entity_type, e.parent, e.details, p.protocol, p.credential, p.bot, s.sensor, s.interval
		FROM entities e LEFT JOIN protocols p ON p.entity = e.id LEFT JOIN polls s ON s.entity = e.id AND s.protocol = p.protocol
		WHERE `+condition+` ORDER BY e.id, p.protocol, s.position`, args...)
	return all, err
}

// AddEntity adds one to an account and returns its id; its own is ignored.
func (in *Inventory) AddEntity(ctx context.Context, account int64, e *Entity) (id int64, err error) {
	if err := e.check(); err != nil {
		return 0, err
	}
	err = in.change(ctx, func(tx *sql.Tx) error {
		if err := exists(ctx, tx, "accounts", account); err != nil {
			return err
		}
		if e.Parent != nil {
			if err := belongs(ctx, tx, "SELECT count(*) FROM entities WHERE id = ? AND account = ?", *e.Parent, account); err != nil {
				return describe(err, "there is no entity %d to be the parent", *e.Parent)
			}
		}
		id, err = insert(ctx, tx, "INSERT INTO entities (account, name, entity_type, parent, details) VALUES (?, ?, ?, ?, ?)", account, e.Name, e.EntityType, e.Parent, string(e.Details))
		if err != nil {
			return err
		}
		return link(ctx, tx, account, id, e.Protocols)
	})
	return id, err
}

// ChangeEntity replaces the one with e.ID. Its parent stays as it is.
func (in *Inventory) ChangeEntity(ctx context.Context, account int64, e *Entity) error {
	if err := e.check(); err != nil {
		return err
	}
	return in.change(ctx, func(tx *sql.Tx) error {
		err := affect(ctx, tx, "UPDATE entities SET name = ?, entity_type = ?, details = ? WHERE account = ? AND id = ?", e.Name, e.EntityType, string(e.Details), account, e.ID)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM protocols WHERE entity = ?", e.ID); err != nil {
			return err
		}
		return link(ctx, tx, account, e.ID, e.Protocols)
	})
}

// DeleteEntity removes one with those below it.
func (in *Inventory) DeleteEntity(ctx context.Context, account, id int64) error {
	return in.change(ctx, func(tx *sql.Tx) error {
		return affect(ctx, tx, "DELETE FROM entities WHERE account = ? AND id = ?", account, id)
	})
}

// belongs returns ErrNotFound when a count is 0.
func belongs(ctx context.Context, tx *sql.Tx, question string, args ...any) error {
	n := 0
	if err := tx.QueryRowContext(ctx, question, args...).Scan(&n); err != nil {
		return err
	}
	if n == 0 {
		return ErrNotFound
	}
	return nil
}

// describe says what was not found.
func describe(err error, format string, args ...any) error {
	if err == ErrNotFound {
		return invalid(format, args...)
	}
	return err
}

// link stores how an entity is polled: credential and sensors must be of the account and
// the protocol, the bot of the account or of the system and of the protocol (section 4.5).
func link(ctx context.Context, tx *sql.Tx, account, entity int64, protocols map[string]Protocol) error {
	for name, p := range protocols {
		err := belongs(ctx, tx, "SELECT count(*) FROM credentials WHERE id = ? AND account = ? AND protocol = ?", p.Credential, account, name)
		if err != nil {
			return describe(err, "there is no credential %d for the protocol %q", p.Credential, name)
		}
		if p.Bot != nil {
			err := belongs(ctx, tx, "SELECT count(*) FROM bots WHERE user = ? AND (account IS NULL OR account = ?) AND protocol = ?", *p.Bot, account, name)
			if err != nil {
				return describe(err, "there is no bot %d for the protocol %q", *p.Bot, name)
			}
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO protocols VALUES (?, ?, ?, ?)", entity, name, p.Credential, p.Bot); err != nil {
			return err
		}
		seen := make(map[int64]bool)
		for i, poll := range p.Sensors {
			if seen[poll.Sensor] {
				return invalid("the sensor %d is there twice", poll.Sensor)
			}
			seen[poll.Sensor] = true
			if err := checkInterval(poll.Interval); err != nil {
				return err
			}
			err := belongs(ctx, tx, "SELECT count(*) FROM sensors WHERE id = ? AND account = ? AND protocol = ?", poll.Sensor, account, name)
			if err != nil {
				return describe(err, "there is no sensor %d for the protocol %q", poll.Sensor, name)
			}
			if _, err := tx.ExecContext(ctx, "INSERT INTO polls VALUES (?, ?, ?, ?, ?)", entity, name, i, poll.Sensor, poll.Interval); err != nil {
				return err
			}
		}
	}
	return nil
}
