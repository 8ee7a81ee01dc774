package inventory

import (
	"context"
	"iter"
	"time"

	"github.com/weirhq/weir/collector"
)

// Source gives bots inside the daemon what they are to poll: entities of all accounts
// that name no bot, or the given one; bot is 0 for none.
func (in *Inventory) Source(bot int64) collector.Source { return source{in, bot} }

type source struct {
	*Inventory
	bot int64
}

// FetchJobConfigs implements collector.Source, by the rules of section 2.
func (s source) FetchJobConfigs(ctx context.Context, protocol string) iter.Seq2[*collector.JobConfig, error] {
	return func(yield func(*collector.JobConfig, error) bool) {
		accounts, err := s.Accounts(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		for _, account := range accounts {
			devices, err := s.devices(ctx, account.ID, protocol)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, device := range devices {
				if !yield(device, nil) {
					return
				}
			}
		}
	}
}

// devices are those of an account that are to be polled.
func (s source) devices(ctx context.Context, account int64, protocol string) ([]*collector.JobConfig, error) {
	entities, err := s.entities(ctx, "e.account = ? AND e.entity_type = 'device' AND p.protocol = ?", account, protocol)
	if err != nil || len(entities) == 0 {
		return nil, err
	}
	credentials, err := s.Credentials(ctx, account)
	if err != nil {
		return nil, err
	}
	sensors, err := s.Sensors(ctx, account)
	if err != nil {
		return nil, err
	}
	credentialOf, sensorOf := make(map[int64]*Credential), make(map[int64]*Sensor)
	for i := range credentials {
		credentialOf[credentials[i].ID] = &credentials[i]
	}
	for i := range sensors {
		sensorOf[sensors[i].ID] = &sensors[i]
	}
	var all []*collector.JobConfig
	for _, e := range entities {
		p := e.Protocols[protocol]
		credential := credentialOf[p.Credential]
		if credential == nil || (p.Bot != nil && *p.Bot != s.bot) {
			continue
		}
		device := &collector.JobConfig{
			AccountID: account, EntityID: e.ID, Name: e.Name, EntityType: e.EntityType, Parent: e.Parent, Details: e.Details, CredentialDetails: credential.Details,
		}
		for _, poll := range p.Sensors {
			sensor := sensorOf[poll.Sensor]
			if sensor == nil {
				continue
			}
			interval := poll.Interval
			if interval == nil {
				interval = sensor.DefaultInterval
			}
			made := collector.SensorConfig{SensorID: sensor.ID, Details: sensor.Details}
			if interval != nil {
				made.Interval = time.Duration(*interval * float64(time.Second))
			}
			device.Sensors = append(device.Sensors, made)
		}
		if len(device.Sensors) > 0 {
			all = append(all, device)
		}
	}
	return all, nil
}
