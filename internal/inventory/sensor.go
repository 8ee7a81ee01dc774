package inventory

import (
	"context"
	"database/sql"
	"encoding/json"
	"math"
)

// Sensor is something that can be measured of an entity.
type Sensor struct {
	ID              int64           `json:"id"`
	Name            string          `json:"name"`
	Protocol        string          `json:"protocol"`
	DefaultInterval *float64        `json:"default_interval"` // seconds, nil for one that is not polled at intervals
	Details         json.RawMessage `json:"details"`
}

func (s *Sensor) check() error {
	if s.Name == "" || s.Protocol == "" {
		return invalid("a sensor must have a name and a protocol")
	}
	if err := checkInterval(s.DefaultInterval); err != nil {
		return err
	}
	return checkDetails(s.Details)
}

// maxInterval is the longest interval, in seconds: a hundred years.
const maxInterval = 100 * 366 * 86400

// checkInterval returns why something cannot be done at an interval, which is in seconds.
func checkInterval(interval *float64) error {
	if interval != nil && (math.IsNaN(*interval) || *interval < 1 || *interval > maxInterval) {
		return invalid("the interval %v is not between 1 and %d seconds", *interval, maxInterval)
	}
	return nil
}

// Sensors are those of an account, by id.
func (in *Inventory) Sensors(ctx context.Context, account int64) ([]Sensor, error) {
	all := []Sensor{}
	err := in.query(ctx, func(row *sql.Rows) error {
		s, err := scanSensor(row)
		all = append(all, s)
		return err
	}, "SELECT id, name, protocol, default_interval, details FROM sensors WHERE account = ? ORDER BY id", account)
	return all, err
}

// Sensor is one of an account.
func (in *Inventory) Sensor(ctx context.Context, account, id int64) (s Sensor, err error) {
	err = in.one(ctx, func(row *sql.Rows) error {
		s, err = scanSensor(row)
		return err
	}, "SELECT id, name, protocol, default_interval, details FROM sensors WHERE account = ? AND id = ?", account, id)
	return s, err
}

func scanSensor(row *sql.Rows) (s Sensor, err error) {
	var details string
	err = row.Scan(&s.ID, &s.Name, &s.Protocol, &s.DefaultInterval, &details)
	s.Details = json.RawMessage(details)
	return s, err
}

// AddSensor adds one to an account and returns its id; its own is ignored. ErrConflict is when the name is taken.
func (in *Inventory) AddSensor(ctx context.Context, account int64, s *Sensor) (id int64, err error) {
	err = in.change(ctx, func(tx *sql.Tx) error {
		if err := exists(ctx, tx, "accounts", account); err != nil {
			return err
		}
		id, err = addSensor(ctx, tx, account, s)
		return err
	})
	return id, err
}

func addSensor(ctx context.Context, tx *sql.Tx, account int64, s *Sensor) (int64, error) {
	if err := s.check(); err != nil {
		return 0, err
	}
	return insert(ctx, tx, "INSERT INTO sensors (account, name, protocol, default_interval, details) VALUES (?, ?, ?, ?, ?)", account, s.Name, s.Protocol, s.DefaultInterval, string(s.Details))
}

// ChangeSensor replaces the one with s.ID.
func (in *Inventory) ChangeSensor(ctx context.Context, account int64, s *Sensor) error {
	if err := s.check(); err != nil {
		return err
	}
	return in.change(ctx, func(tx *sql.Tx) error {
		err := affect(ctx, tx, "UPDATE sensors SET name = ?, protocol = ?, default_interval = ?, details = ? WHERE account = ? AND id = ?", s.Name, s.Protocol, s.DefaultInterval, string(s.Details), account, s.ID)
		if err != nil {
			return err
		}
		return unused(ctx, tx, "SELECT count(*) FROM polls WHERE sensor = ? AND protocol <> ?", s.ID, s.Protocol)
	})
}

// DeleteSensor removes one, also from the entities that had it.
func (in *Inventory) DeleteSensor(ctx context.Context, account, id int64) error {
	return in.change(ctx, func(tx *sql.Tx) error {
		return affect(ctx, tx, "DELETE FROM sensors WHERE account = ? AND id = ?", account, id)
	})
}
