package collector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"time"
)

// entityJSON is an entity as the API shows it (section 4.4).
type entityJSON struct {
	ID         int64                   `json:"id"`
	Name       string                  `json:"name"`
	EntityType string                  `json:"entity_type"`
	Parent     *int64                  `json:"parent"`
	Details    json.RawMessage         `json:"details"`
	Protocols  map[string]protocolJSON `json:"protocols"`
}

// protocolJSON is what is polled of an entity.
type protocolJSON struct {
	Credential *int64 `json:"credential"`
	Bot        *int64 `json:"bot"`
	Sensors    []struct {
		Sensor   int64    `json:"sensor"`
		Interval *float64 `json:"interval"` // seconds
	} `json:"sensors"`
}

// FetchJobConfigs implements Source with the calls of section 2, in their order.
// Entities, credentials and sensors that vanish meanwhile are left out. When the token has been
// bad for ten minutes there are no devices any more, so that the jobs end.
func (c *Client) FetchJobConfigs(ctx context.Context, protocol string) iter.Seq2[*JobConfig, error] {
	return func(yield func(*JobConfig, error) bool) {
		err := c.walk(ctx, protocol, func(config *JobConfig) bool { return yield(config, nil) })
		switch {
		case err == nil || errors.Is(err, errEnough):
		case c.denied():
			c.log.Error("the token has not been good for a while; no jobs are left", "error", err)
		default:
			yield(nil, err)
		}
	}
}

// errEnough is when the caller wants no more.
var errEnough = errors.New("enough")

// denied reports whether the token has been bad for long.
func (c *Client) denied() bool {
	since := c.deniedSince.Load()
	return since != 0 && time.Since(time.Unix(0, since)) > deniedPatience
}

func (c *Client) walk(ctx context.Context, protocol string, yield func(*JobConfig) bool) error {
	var accounts struct {
		List []struct {
			ID int64 `json:"id"`
		} `json:"list"`
	}
	if err := c.get(ctx, "/accounts/", &accounts); err != nil {
		return err
	}
	for _, account := range accounts.List {
		var entities struct {
			List []entityJSON `json:"list"`
		}
		below := fmt.Sprintf("/accounts/%d", account.ID)
		if err := c.get(ctx, below+"/entities/", &entities); err != nil {
			return err
		}
		for _, e := range entities.List {
			if e.EntityType != "device" {
				continue
			}
			config, err := c.device(ctx, account.ID, below, e.ID, protocol)
			if err != nil {
				return err
			}
			if config != nil && !yield(config) {
				return errEnough
			}
		}
	}
	return nil
}

// device is what there is to poll of an entity, nil for nothing.
func (c *Client) device(ctx context.Context, account int64, below string, id int64, protocol string) (*JobConfig, error) {
	var e entityJSON
	if err := c.get(ctx, fmt.Sprintf("%s/entities/%d", below, id), &e); err != nil {
		return nil, vanished(err)
	}
	p, ok := e.Protocols[protocol]
	if !ok || (p.Bot != nil && *p.Bot != c.user) || p.Credential == nil || *p.Credential == 0 || len(p.Sensors) == 0 {
		return nil, nil
	}
	var credential struct {
		Details json.RawMessage `json:"details"`
	}
	if err := c.get(ctx, fmt.Sprintf("%s/credentials/%d", below, *p.Credential), &credential); err != nil {
		return nil, vanished(err)
	}
	config := &JobConfig{
		AccountID: account, EntityID: e.ID, Name: e.Name, EntityType: e.EntityType, Parent: e.Parent, Details: e.Details,
		CredentialDetails: credential.Details,
	}
	for _, of := range p.Sensors {
		var sensor struct {
			DefaultInterval *float64        `json:"default_interval"`
			Details         json.RawMessage `json:"details"`
		}
		err := c.get(ctx, fmt.Sprintf("%s/sensors/%d", below, of.Sensor), &sensor)
		if err != nil {
			if err = vanished(err); err != nil {
				return nil, err
			}
			continue
		}
		made := SensorConfig{SensorID: of.Sensor, Details: sensor.Details}
		interval := of.Interval
		if interval == nil {
			interval = sensor.DefaultInterval
		}
		if interval != nil {
			made.Interval = time.Duration(*interval * float64(time.Second))
		}
		config.Sensors = append(config.Sensors, made)
	}
	if len(config.Sensors) == 0 {
		return nil, nil
	}
	return config, nil
}

// vanished is nil for something that is not there any more, otherwise err.
func vanished(err error) error {
	var status *StatusError
	if errors.As(err, &status) && status.Status == http.StatusNotFound {
		return nil
	}
	return err
}
