package bot

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/weirhq/weir/collector"
)

// Entity is a part of a device in the inventory.
type Entity struct {
	ID         int64           `json:"id,omitempty"`
	Name       string          `json:"name"`
	EntityType string          `json:"entity_type"`
	Parent     *int64          `json:"parent,omitempty"`
	Details    json.RawMessage `json:"details"`
	Protocols  json.RawMessage `json:"protocols,omitempty"` // left as they are
}

// Entities is where bots note the parts that devices have. Methods may be called from any goroutine.
type Entities interface {
	// Parts are the entities of a type below another.
	Parts(ctx context.Context, account, parent int64, entityType string) ([]Entity, error)

	// AddPart, ChangePart and DeletePart change one; a changed one keeps its parent.
	AddPart(ctx context.Context, account int64, e *Entity) error
	ChangePart(ctx context.Context, account int64, e *Entity) error
	DeletePart(ctx context.Context, account, id int64) error
}

// Remote are the Entities of a Weir elsewhere.
type Remote struct{ *collector.Client }

var _ Entities = Remote{}

// Parts implements Entities.
func (r Remote) Parts(ctx context.Context, account, parent int64, entityType string) ([]Entity, error) {
	answer, err := r.Request(ctx, http.MethodGet, fmt.Sprintf("/accounts/%d/entities/?parent=%d&entity_type=%s", account, parent, entityType), nil)
	if err != nil {
		return nil, err
	}
	var all struct {
		List []Entity `json:"list"`
	}
	if err := json.Unmarshal(answer, &all); err != nil {
		return nil, fmt.Errorf("cannot read the entities: %w", err)
	}
	var parts []Entity // not every server looks at the query
	for _, e := range all.List {
		if e.EntityType == entityType && e.Parent != nil && *e.Parent == parent {
			parts = append(parts, e)
		}
	}
	return parts, nil
}

// AddPart implements Entities.
func (r Remote) AddPart(ctx context.Context, account int64, e *Entity) error {
	return r.put(ctx, http.MethodPost, fmt.Sprintf("/accounts/%d/entities/", account), e)
}

// ChangePart implements Entities.
func (r Remote) ChangePart(ctx context.Context, account int64, e *Entity) error {
	changed := *e
	changed.ID, changed.Parent = 0, nil
	return r.put(ctx, http.MethodPut, fmt.Sprintf("/accounts/%d/entities/%d/", account, e.ID), &changed)
}

func (r Remote) put(ctx context.Context, method, path string, e *Entity) error {
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = r.Request(ctx, method, path, body)
	return err
}

// DeletePart implements Entities.
func (r Remote) DeletePart(ctx context.Context, account, id int64) error {
	_, err := r.Request(ctx, http.MethodDelete, fmt.Sprintf("/accounts/%d/entities/%d/", account, id), nil)
	return err
}
