package monitor

import (
	"fmt"

	"github.com/weirhq/weir/internal/lua"
)

// takeEffect gets what a method of the engine asks for: a table with the members of Effect by their names in JSON.
// Those of an alert and a message are in it too.
func (i *instance) takeEffect(c *lua.Call) (int, error) {
	t, err := c.Table(1)
	if err != nil {
		return 0, err
	}
	text := func(name string) string { s, _ := t.Get(name).(string); return s }
	number := func(name string) float64 { return toFloat(t.Get(name)) }
	e := Effect{Op: text("op"), Instance: i.Index, GUID: text("guid"), Flow: text("flow"), Key: []byte(text("key"))}
	switch e.Op {
	case OpAlert:
		e.Alert = &Alert{
			GUID: e.GUID, Time: number("time"), Flow: e.Flow, SigID: text("sigid"), Classification: text("classification"),
			Priority: int(number("priority")), Status: text("status"), Message: text("message"),
		}
		if e.Alert.Status == "" {
			e.Alert.Status = "ALARM"
		}
		e.GUID, e.Flow = "", ""
	case OpMessage:
		frontend, _ := t.Get("frontend").(bool)
		e.Message = &Message{ID: e.GUID, Text: []byte(text("text")), Frontend: frontend, From: i.Index}
		e.GUID = ""
	default:
		e.Name, e.Value, e.Label, e.Text, e.Description = text("name"), text("value"), text("label"), text("text"), text("description")
		e.ToGUID, e.ToKey = text("to_guid"), []byte(text("to_key"))
		e.Meter, e.Direction, e.Number = int(number("meter")), int(number("direction")), number("number")
		for _, v := range table(t.Get("numbers")).Array {
			e.Numbers = append(e.Numbers, toFloat(v))
		}
	}
	if len(e.Text) > maxText {
		return 0, fmt.Errorf("%d bytes are more than the %d there may be", len(e.Text), maxText)
	}
	i.host.effect(e)
	return 0, nil
}

// maxText bounds what one effect carries, so that a frame of them is small enough.
const maxText = 32 << 10

func toFloat(v lua.Value) float64 {
	switch v := v.(type) {
	case int64:
		return float64(v)
	case float64:
		return v
	}
	return 0
}
