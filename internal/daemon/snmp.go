package daemon

import (
	"context"
	"encoding/json"
	"path/filepath"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/bot"
	"github.com/weirhq/weir/internal/bot/snmp"
	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/inventory"
)

// makeSNMPBot makes the bot that asks devices over SNMP. What it knows of counters is below data, and is kept
// once more when it stops.
func makeSNMPBot(in house, entry config.Collector) (bot.Bot, []part) {
	log := in.log.With("collector", entry.Name)
	made := snmp.New(snmp.Config{
		State: botState(in.config.Data, entry.Name), Entities: entityParts{in.inventory},
		Ledger: in.registry.Ledger("bots."+entry.Name, "rows"), Log: log,
	})
	begin := func(context.Context) error { return nil }
	return made, []part{{entry.Name + " counters", begin, func(context.Context) error { return made.Close() }, collectorPatience}}
}

// botState is the file in which a bot keeps what it needs after a restart.
func botState(folder, name string) string {
	return filepath.Join(folder, "collectors", bot.Segment(name)+".state")
}

// entityParts are the entities of the inventory, as bots see them.
type entityParts struct{ *inventory.Inventory }

var _ bot.Entities = entityParts{}

// Parts implements bot.Entities.
func (p entityParts) Parts(ctx context.Context, account, parent int64, entityType string) ([]bot.Entity, error) {
	all, err := p.Entities(ctx, account)
	if err != nil {
		return nil, err
	}
	var found []bot.Entity
	for _, e := range all {
		if e.EntityType == entityType && e.Parent != nil && *e.Parent == parent {
			found = append(found, bot.Entity{ID: e.ID, Name: e.Name, EntityType: e.EntityType, Parent: e.Parent, Details: e.Details})
		}
	}
	return found, nil
}

// AddPart implements bot.Entities.
func (p entityParts) AddPart(ctx context.Context, account int64, e *bot.Entity) error {
	_, err := p.AddEntity(ctx, account, &inventory.Entity{Name: e.Name, EntityType: e.EntityType, Parent: e.Parent, Details: e.Details})
	return err
}

// ChangePart implements bot.Entities.
func (p entityParts) ChangePart(ctx context.Context, account int64, e *bot.Entity) error {
	kept, err := p.Entity(ctx, account, e.ID)
	if err != nil {
		return err
	}
	kept.Name, kept.Details = e.Name, json.RawMessage(e.Details)
	return p.ChangeEntity(ctx, account, &kept)
}

// DeletePart implements bot.Entities.
func (p entityParts) DeletePart(ctx context.Context, account, id int64) error {
	return p.DeleteEntity(ctx, account, id)
}

// makeRemoteSNMPBot makes the bot for a Weir elsewhere. What it knows of counters is beside its spool.
func makeRemoteSNMPBot(c *collector.Client, with collector.ClientConfig) (bot.Bot, func() error) {
	state := ""
	if with.Spool != "" {
		state = filepath.Clean(with.Spool) + ".state" // the directory belongs to the client alone
	}
	made := snmp.New(snmp.Config{State: state, Entities: bot.Remote{Client: c}, Log: with.Log})
	return made, made.Close
}
