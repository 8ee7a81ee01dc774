package netflow

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"github.com/weirhq/weir/internal/inventory"
)

// Inventory is where exporters that nobody knows become devices.
type Inventory interface {
	Accounts(ctx context.Context) ([]inventory.Account, error)
	Entities(ctx context.Context, account int64) ([]inventory.Entity, error)
	AddEntity(ctx context.Context, account int64, e *inventory.Entity) (id int64, err error)
}

// Anybody can send datagrams in the name of anybody, so what they add is bounded.
const (
	maxSuggested = 10  // by one run for one account
	maxDevices   = 500 // an account that has so many gets no more
)

// suggestions adds exporters to accounts. The devices have no protocol: nothing is summarised before a person says so.
type suggestions struct {
	in      Inventory
	account int64 // 0 for all
	log     *slog.Logger
}

// add adds those of exporters that no device of an account has as its address.
func (s *suggestions) add(ctx context.Context, exporters []netip.Addr) error {
	slices.SortFunc(exporters, netip.Addr.Compare)
	accounts, err := s.in.Accounts(ctx)
	if err != nil {
		return err
	}
	for _, account := range accounts {
		if s.account != 0 && account.ID != s.account {
			continue
		}
		entities, err := s.in.Entities(ctx, account.ID)
		if err != nil {
			return err
		}
		has := make(map[netip.Addr]bool)
		devices := 0
		for _, e := range entities {
			if e.EntityType != "device" {
				continue
			}
			devices++
			var details struct {
				IPv4 string `json:"ipv4"`
			}
			if json.Unmarshal(e.Details, &details) != nil {
				continue // details are as people want them
			}
			if at, err := netip.ParseAddr(details.IPv4); err == nil {
				has[at.Unmap()] = true
			}
		}
		added := 0
		for _, at := range exporters {
			if has[at] || !at.Is4() {
				continue
			}
			if devices >= maxDevices || added == maxSuggested {
				break
			}
			details, err := json.Marshal(map[string]string{"ipv4": at.String()})
			if err != nil {
				return err
			}
			id, err := s.in.AddEntity(ctx, account.ID, &inventory.Entity{Name: at.String() + " (NetFlow exporter)", EntityType: "device", Details: details})
			if err != nil {
				return fmt.Errorf("cannot suggest the exporter %s to account %d: %w", at, account.ID, err)
			}
			s.log.Info("an exporter that nobody knew was added to the inventory; its flows are summarised when it has the protocol netflow", "exporter", at, "account", account.ID, "entity", id)
			devices++
			added++
		}
	}
	return nil
}
