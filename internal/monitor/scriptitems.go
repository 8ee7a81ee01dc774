package monitor

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/weirhq/weir/internal/lua"
	"github.com/weirhq/weir/internal/lua/modules"
)

// items works on alerts, flows or resources (5.4 to 5.7).
func (h *host) items(payload []byte) (*ItemVotes, error) {
	var head struct {
		Items
		Alerts    json.RawMessage `json:"alerts"` // as they are: the prelude reads them by their names
		Flows     json.RawMessage `json:"flows"`
		Resources json.RawMessage `json:"resources"`
	}
	if err := json.Unmarshal(payload, &head); err != nil {
		return nil, fmt.Errorf("cannot read items: %w", err)
	}
	i := h.instances[head.Instance]
	if i == nil {
		return nil, fmt.Errorf("BUG: items for instance %d, which is not there", head.Instance)
	}
	list := lua.Value(&lua.Table{})
	for _, text := range []json.RawMessage{head.Alerts, head.Flows, head.Resources} {
		if len(text) == 0 || string(text) == "null" {
			continue
		}
		var message string
		if list, message = modules.DecodeJSON(string(text)); message != "" {
			return nil, fmt.Errorf("cannot read items: %s", message)
		}
	}
	return i.items(&head.Items, list.(*lua.Table)), nil
}

func (i *instance) items(head *Items, list *lua.Table) *ItemVotes {
	count := len(list.Array)
	if head.Begin {
		i.call("onbeginflush", "item_begin", head.Time)
	}
	i.call(head.Event, "items", head.Event, head.Time, list)
	limit := 16
	for count > 0 && i.state != nil {
		began := time.Now()
		results, ok := i.call(head.Event, "item_step", limit)
		if ok && results[0] == true {
			break
		}
		limit = nextLimit(limit, time.Since(began))
	}
	votes := new(ItemVotes)
	if results, ok := i.call(head.Event, "item_votes"); ok {
		votes.read(head.Event, i.Type, results)
	}
	if head.End {
		i.call("onendflush", "item_end", head.Time)
	}
	if head.Event == EventFilter || head.Event == EventDecide {
		for i.Type != TypeFlowTracker && len(votes.Pass) < count { // it does not run any more
			votes.Pass = append(votes.Pass, true)
		}
		for i.Type == TypeFlowTracker && len(votes.Ranks) < count {
			votes.Ranks = append(votes.Ranks, 0)
		}
	}
	return votes
}

func (v *ItemVotes) read(event, kind string, results []lua.Value) {
	if event == EventFilter || event == EventDecide {
		for _, x := range table(results[0]).Array {
			v.Pass = append(v.Pass, x != false)
		}
		for _, x := range table(results[1]).Array {
			v.Ranks = append(v.Ranks, toFloat(x))
		}
	}
	for _, x := range table(results[2]).Array {
		t := table(x)
		text := func(name string) *string {
			s, ok := t.Get(name).(string)
			if !ok {
				return nil
			}
			return &s
		}
		c := Change{Item: int(toFloat(t.Get("item"))), Message: text("message"), ExtraMessage: text("extra_message"), URI: text("uri"), Label: text("label")}
		if n := t.Get("priority"); n != nil {
			priority := int(toFloat(n))
			c.Priority = &priority
		}
		v.Changed = append(v.Changed, c)
	}
}

// readableIPv6 gives an IPv6 address in the form of keys its usual one; nothing for what is none.
func readableIPv6(c *lua.Call) (int, error) {
	key, err := c.String(1)
	if err != nil {
		return 0, err
	}
	a, ok := addressOfKey(key)
	if !ok {
		return 0, nil
	}
	c.PushString(netip.Addr.String(a))
	return 1, nil
}
