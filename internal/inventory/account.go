package inventory

import (
	"context"
	"database/sql"
	"encoding/json"
)

// Account is whose entities, credentials, sensors and values are kept apart from those of others.
type Account struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
}

// Accounts are all accounts, by name.
func (in *Inventory) Accounts(ctx context.Context) ([]Account, error) {
	all := []Account{}
	err := in.query(ctx, func(row *sql.Rows) error {
		var a Account
		err := row.Scan(&a.ID, &a.Name)
		all = append(all, a)
		return err
	}, "SELECT id, name FROM accounts ORDER BY name, id")
	return all, err
}

// Account is the account with an id.
func (in *Inventory) Account(ctx context.Context, id int64) (a Account, err error) {
	err = in.one(ctx, func(row *sql.Rows) error { return row.Scan(&a.ID, &a.Name) }, "SELECT id, name FROM accounts WHERE id = ?", id)
	return a, err
}

// AddAccount makes an account with the credentials and sensors each one has (section 4.9).
func (in *Inventory) AddAccount(ctx context.Context, name string) (id int64, err error) {
	if name == "" {
		return 0, invalid("an account must have a name")
	}
	err = in.change(ctx, func(tx *sql.Tx) error {
		if id, err = insert(ctx, tx, "INSERT INTO accounts (name) VALUES (?)", name); err != nil {
			return err
		}
		for _, c := range defaultCredentials {
			if _, err := in.addCredential(ctx, tx, id, &c); err != nil {
				return err
			}
		}
		for _, s := range defaultSensors {
			if _, err := addSensor(ctx, tx, id, &s); err != nil {
				return err
			}
		}
		return nil
	})
	return id, err
}

// RenameAccount gives an account another name.
func (in *Inventory) RenameAccount(ctx context.Context, id int64, name string) error {
	if name == "" {
		return invalid("an account must have a name")
	}
	return in.change(ctx, func(tx *sql.Tx) error {
		return affect(ctx, tx, "UPDATE accounts SET name = ? WHERE id = ?", name, id)
	})
}

// What each account begins with (section 4.9).
var (
	defaultCredentials = []Credential{
		{Name: "Default ICMP ping credential (3 packets)", Protocol: "ping", Details: json.RawMessage(`{"n_packets":"3","sleep_packets":"1.0","timeout":"1.0","retry":"0"}`)},
		{Name: "Default SNMP credential (SNMPv2c, 'public')", Protocol: "snmp", Details: json.RawMessage(`{"version":"snmpv2c","snmpv12_community":"public"}`)},
		{Name: "Default NetFlow credential", Protocol: "netflow", Details: json.RawMessage(`{}`)},
	}
	defaultSensors = []Sensor{
		{Name: "Default ICMP ping sensor", Protocol: "ping", DefaultInterval: seconds(60), Details: json.RawMessage(`{}`)},
		traffic("Traffic IN [bps]", "10", "in"),
		traffic("Traffic OUT [bps]", "16", "out"),
		{Name: "Linux lmsensors - temperature [°C]", Protocol: "snmp", DefaultInterval: seconds(60), Details: json.RawMessage(
			`{"oids":[{"oid":"1.3.6.1.4.1.2021.13.16.2.1.2","fetch_method":"walk"},{"oid":"1.3.6.1.4.1.2021.13.16.2.1.3","fetch_method":"walk"}],"expression":"$2 / 1000.0","output_path":"lmsensors.temp.{$index}.{$1}"}`)},
		{Name: "Default NetFlow sensor", Protocol: "netflow", Details: json.RawMessage(`{}`)},
	}
)

// traffic is a sensor of bytes per second, whatever its name says: that is what bots and their users know.
func traffic(name, column, direction string) Sensor {
	return Sensor{Name: name, Protocol: "snmp", DefaultInterval: seconds(60), Details: json.RawMessage(
		`{"oids":[{"oid":"1.3.6.1.2.1.2.2.1.2","fetch_method":"walk"},{"oid":"1.3.6.1.2.1.2.2.1.` + column +
			`","fetch_method":"walk"}],"expression":"$2","output_path":"if.` + direction + `-octets.{$index}.{$1}"}`)}
}

func seconds(s float64) *float64 { return &s }
