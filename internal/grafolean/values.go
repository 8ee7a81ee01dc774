package grafolean

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/timeseries"
)

// maxItems is how many values one request may have.
const maxItems = 100_000

// item is a value as it is sent.
type item struct {
	P *string         `json:"p"`
	T json.RawMessage `json:"t"`
	V json.RawMessage `json:"v"`
}

// postValues stores values under one time, which is now (section 3.1).
func postValues(c *call) error {
	now := c.s.now().Unix()
	return c.write(func(of *item) (int64, error) {
		switch text := string(of.T); text {
		case "", "null", "0", "0.0", "false", `""`:
			return now, nil
		}
		return 0, failed(http.StatusBadRequest, "Parameter 't' shouldn't be specified with POST")
	})
}

// putValues stores values under their own times. An empty list is no error.
func putValues(c *call) error {
	return c.write(func(of *item) (int64, error) { return parseTime(of.T) })
}

// write stores all values of a request, or none.
func (c *call) write(at func(*item) (int64, error)) error {
	account, err := c.account()
	if err != nil {
		return err
	}
	items, err := c.items()
	if err != nil {
		return err
	}
	c.s.ledger.Received(len(items))
	points, err := c.points(account, items, at)
	if err != nil {
		c.s.invalid.Add(len(items))
		var a *answer
		if errors.As(err, &a) && a.detail == nil && c.r.Header.Get("Content-Type") != "application/json" {
			hint := *a
			hint.text += " (the header Content-Type should be application/json)"
			return &hint
		}
		return err
	}
	if len(points) == 0 {
		if c.r.Method == http.MethodPut {
			return c.done()
		}
		return failed(http.StatusBadRequest, "Missing data")
	}
	if _, err := c.s.inventory.Account(c.ctx, account); err != nil {
		c.s.refused.Add(len(items))
		if missing(err, "") != err {
			return failed(http.StatusBadRequest, "Invalid input format")
		}
		return err
	}
	if err := c.s.append(c, points); err != nil {
		var some *timeseries.AppendError
		if !errors.As(err, &some) || errors.Is(err, timeseries.ErrFull) {
			c.s.unstored.Add(len(items))
			return err
		}
		// The driver has said what is wrong with them: too old to be kept, or of tomorrow.
		refused := min(some.Refused, len(items))
		c.s.refused.Add(refused)
		c.s.ledger.Passed(len(items) - refused)
		return failed(http.StatusBadRequest, "%d of %d values are not stored: %v", refused, len(items), some.First)
	}
	c.s.ledger.Passed(len(items))
	return c.done()
}

// append makes points durable.
func (s *Server) append(c *call, points []timeseries.Point) error {
	if s.driver == nil {
		return errors.New("timeseries.write names no driver")
	}
	return s.driver.Append(c.ctx, points)
}

// items are the values of a request in any of the forms of section 3.1.
func (c *call) items() ([]item, error) {
	query := c.r.URL.Query()
	data, err := c.read(maxValues)
	if err != nil {
		return nil, err
	}
	data = bytes.TrimSpace(data)
	if query.Has("p") {
		if len(data) > 0 && string(data) != "[]" && string(data) != "{}" {
			return nil, invalid("values are in the URL and in the body")
		}
		path := query.Get("p")
		of := item{P: &path, V: quote(query.Get("v"))}
		if query.Has("t") {
			of.T = quote(query.Get("t"))
		}
		return []item{of}, nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	var items []item
	switch {
	case len(data) == 0:
		return nil, nil
	case data[0] == '[':
		err = d.Decode(&items)
	case data[0] == '{':
		items, err = mapItems(d)
	default:
		return nil, invalid("the body must be a list of values")
	}
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("something follows the values")
		}
	}
	switch {
	case err != nil:
		return nil, invalid("the body is not JSON as it should be: %s", strings.TrimPrefix(err.Error(), "json: "))
	case len(items) > maxItems:
		return nil, &answer{status: http.StatusRequestEntityTooLarge, detail: "There are more than " + strconv.Itoa(maxItems) + " values"}
	}
	return items, nil
}

// mapItems reads {"path": value}.
func mapItems(d *json.Decoder) (items []item, err error) {
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		path := key.(string)
		of := item{P: &path}
		if err := d.Decode(&of.V); err != nil {
			return nil, err
		}
		items = append(items, of)
	}
	_, err = d.Token()
	return items, err
}

func quote(text string) json.RawMessage {
	quoted, _ := json.Marshal(text) // a string has no errors
	return quoted
}

// points are those of the items, when all are in order. Of values with the same
// path and time the last one counts.
func (c *call) points(account int64, items []item, at func(*item) (int64, error)) ([]timeseries.Point, error) {
	type place struct {
		path string
		at   int64
	}
	tag := strconv.FormatInt(account, 10)
	seen := make(map[place]int, len(items))
	points := make([]timeseries.Point, 0, len(items))
	backing := make([]string, 0, 2*len(items))
	values := make([]float64, 0, len(items))
	for i := range items {
		of := &items[i]
		if of.P == nil || of.V == nil {
			return nil, invalid("Invalid PathInputValue format: an item must have p and v")
		}
		if err := checkPath(*of.P); err != nil {
			return nil, err
		}
		value, err := parseValue(of.V)
		if err != nil {
			return nil, err
		}
		t, err := at(of)
		if err != nil {
			return nil, err
		}
		here := place{*of.P, t}
		if j, again := seen[here]; again {
			points[j].Values[0] = value
			continue
		}
		seen[here] = len(points)
		backing, values = append(backing, tag, *of.P), append(values, value)
		n := len(values)
		points = append(points, timeseries.Point{Schema: Schema, Tags: backing[2*n-2 : 2*n : 2*n], Values: values[n-1 : n : n], Time: t})
	}
	return points, nil
}

// checkPath returns why values cannot be stored under a path.
func checkPath(path string) error {
	if err := collector.CheckPath(path); err != nil || strings.HasPrefix(path, "system.") {
		return invalid("Invalid PathInputValue format: %s", path)
	}
	return nil
}

// parseValue reads a number, a numeric text, true or false (section 3.1).
func parseValue(raw json.RawMessage) (float64, error) {
	wrong := func() error { return invalid("Invalid MeasuredValue format: %s", shorten(string(raw))) }
	text := string(raw)
	switch text {
	case "true":
		return 1, nil
	case "false":
		return 0, nil
	}
	if len(text) > 0 && text[0] == '"' {
		if err := json.Unmarshal(raw, &text); err != nil {
			return 0, wrong()
		}
		text = strings.TrimSpace(text)
		if strings.ContainsAny(text, "xXpP_iInN") { // forms that only Go or Python knows, and what is no number
			return 0, wrong()
		}
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(value, 0) || math.IsNaN(value) {
		return 0, wrong()
	}
	return value, nil
}

func shorten(text string) string {
	if len(text) > 60 {
		return text[:60] + "..."
	}
	return text
}

// parseTime reads a time: seconds, at most ten digits, with up to six decimals (section
// 3.1). What is stored are whole seconds.
func parseTime(raw json.RawMessage) (int64, error) {
	text := string(raw)
	wrong := func() error { return invalid("Invalid Timestamp format: %s", shorten(text)) }
	if len(raw) > 0 && raw[0] == '"' {
		if err := json.Unmarshal(raw, &text); err != nil || !timeText(text) {
			return 0, wrong()
		}
	}
	t, err := strconv.ParseFloat(text, 64)
	if err != nil || !(t > 0 && t < 1e10) {
		return 0, wrong()
	}
	return int64(math.Floor(t)), nil
}

// timeText is the form of a time that is a text: 2 to 10 digits without a leading zero, and 1 to 6 decimals.
func timeText(text string) bool {
	whole, decimals, cut := strings.Cut(text, ".")
	digits := func(s string, least, most int) bool {
		return len(s) >= least && len(s) <= most && strings.Trim(s, "0123456789") == ""
	}
	return digits(whole, 2, 10) && whole[0] != '0' && (!cut || digits(decimals, 1, 6))
}
