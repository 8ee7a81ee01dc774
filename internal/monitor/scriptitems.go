package monitor

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/weirhq/weir/internal/lua"
	"github.com/weirhq/weir/internal/lua/modules"
)

// itemsOf works on alerts, flows or resources (5.4 to 5.7).
func (h *host) itemsOf(kind byte, payload []byte) (*ItemVotes, error) {
	if kind == KindFlows {
		return h.flows(payload)
	}
	return h.items(payload)
}

// items works on a KindItems. The prelude reads their members by the names they have in JSON.
func (h *host) items(payload []byte) (*ItemVotes, error) {
	v, message := modules.DecodeJSON(string(payload))
	if message != "" {
		return nil, fmt.Errorf("cannot read items: %s", message)
	}
	t := table(v)
	head := Items{Instance: int(toFloat(t.Get("instance"))), Time: int64(toFloat(t.Get("time"))), Begin: t.Get("begin") == true, End: t.Get("end") == true}
	head.Event, _ = t.Get("event").(string)
	i, err := h.instance(head.Instance)
	if err != nil {
		return nil, err
	}
	list := &lua.Table{}
	for _, name := range []string{"alerts", "resources"} {
		if some := table(t.Get(name)); len(some.Array) > 0 {
			list = some
		}
	}
	return i.items(&head, len(list.Array), "items", list), nil
}

// items has the prelude work on so many items; function takes them.
func (i *instance) items(head *Items, count int, function string, list lua.Value) *ItemVotes {
	if head.Begin {
		i.call("onbeginflush", "item_begin", head.Time)
	}
	i.call(head.Event, function, head.Event, head.Time, list)
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
