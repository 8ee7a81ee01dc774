package collector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
)

// valueJSON is a value as PUT takes it (section 3.1).
type valueJSON struct {
	Path  string      `json:"p"`
	Time  json.Number `json:"t"` // Unix seconds with up to six decimals
	Value float64     `json:"v"`
}

// maxPath is the longest path in bytes (section 3.2).
const maxPath = 1024

// CheckPath returns what is wrong with a path (section 3.2): it must be segments of letters,
// digits, "_", "-", "%2e" for a dot and "%3a" for a colon, joined by single dots.
func CheckPath(path string) error {
	if len(path) > maxPath {
		return fmt.Errorf("the path %q has %d bytes, more than %d", path[:50]+"...", len(path), maxPath)
	}
	empty := true // the segment so far
	for i := 0; i < len(path); i++ {
		switch ch := path[i]; {
		case ch == '.':
			if empty {
				return fmt.Errorf("the path %q has an empty segment", path)
			}
			empty = true
			continue
		case 'a' <= ch && ch <= 'z' || 'A' <= ch && ch <= 'Z' || '0' <= ch && ch <= '9' || ch == '_' || ch == '-':
		case ch == '%' && i+2 < len(path) && (path[i+1:i+3] == "2e" || path[i+1:i+3] == "3a"):
			i += 2
		default:
			return fmt.Errorf("the path %q has %q in it, which must be a letter, digit, _, -, %%2e or %%3a", path, path[i:i+1])
		}
		empty = false
	}
	if empty {
		return fmt.Errorf("the path %q has an empty segment", path)
	}
	return nil
}

// check returns why the server would refuse a value.
func (v *Value) check() error {
	if math.IsNaN(v.Value) || math.IsInf(v.Value, 0) {
		return fmt.Errorf("the value of %q is %v", v.Path, v.Value)
	}
	return CheckPath(v.Path)
}

// SendResults implements Sink. Values that cannot be delivered now go to the spool
// and are delivered later with the times they have now. Values that are not in order are left
// out; the error says so, and the others are sent.
func (c *Client) SendResults(ctx context.Context, account int64, values []Value) error {
	now := time.Now()
	batch := make([]valueJSON, 0, len(values))
	var bad error
	wrong := 0
	for i := range values {
		v := &values[i]
		if err := v.check(); err != nil {
			if wrong++; bad == nil {
				bad = err
			}
			continue
		}
		at := v.Time
		if at.IsZero() {
			at = now
		}
		batch = append(batch, valueJSON{v.Path, stamp(at), v.Value})
	}
	var err error
	if len(batch) > 0 {
		c.taken.Add(int64(len(batch)))
		err = c.deliver(ctx, account, batch)
	}
	if bad != nil {
		err = errors.Join(fmt.Errorf("cannot send %d of %d values: %w", wrong, len(values), bad), err)
	}
	return err
}

// stamp is t as the API wants it.
func stamp(t time.Time) json.Number {
	micros := t.UnixMicro()
	return json.Number(strconv.FormatInt(micros/1e6, 10) + "." + fmt.Sprintf("%06d", micros%1e6))
}

// deliver sends a batch, or puts it in the spool when that fails for now or older ones are there.
func (c *Client) deliver(ctx context.Context, account int64, batch []valueJSON) error {
	if c.spool == nil || c.spool.waiting() == 0 {
		err := c.put(ctx, account, batch)
		switch {
		case err == nil:
			c.delivered.Add(int64(len(batch)))
			return nil
		case permanent(err):
			c.refused.Add(int64(len(batch)))
			return err
		case c.spool == nil:
			c.dropped.Add(int64(len(batch)))
			return err
		}
		c.log.Warn("values wait in the spool, because they cannot be delivered now", "values", len(batch), "error", err)
	}
	if err := c.spool.add(account, batch); err != nil {
		c.dropped.Add(int64(len(batch)))
		return err
	}
	return nil
}

// put stores values under their own times. Sent twice they are stored once.
func (c *Client) put(ctx context.Context, account int64, batch []valueJSON) error {
	body, err := json.Marshal(batch)
	if err != nil {
		return fmt.Errorf("cannot send values: %w", err)
	}
	_, err = c.request(ctx, http.MethodPut, fmt.Sprintf("/accounts/%d/values/", account), body)
	return err
}

// permanent reports whether the server will never take what it did not take now.
func permanent(err error) bool {
	var status *StatusError
	if !errors.As(err, &status) {
		return false
	}
	switch status.Status {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	}
	return status.Status/100 == 4
}

// delivering empties the spool, oldest values first.
func (c *Client) delivering(ctx context.Context) {
	pause := firstPause
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.spool.filled:
		}
		for ctx.Err() == nil {
			part := c.spool.oldest()
			if part == nil {
				break
			}
			err := c.deliverPart(ctx, part)
			if err == nil {
				pause = firstPause
				continue
			}
			wait := pause
			var status *StatusError
			if errors.As(err, &status) && status.retryAfter > 0 {
				wait = status.retryAfter
			}
			c.log.Warn("values in the spool cannot be delivered now", "values", c.spool.waiting(), "again_in", wait, "error", err)
			pause = min(2*pause, longestPause)
			select {
			case <-ctx.Done():
			case <-time.After(wait):
			}
		}
	}
}

// perRequest is how many values from the spool go into one request.
const perRequest = 10_000

// deliverPart delivers a part of the spool and removes it. After an error, which
// is temporary, all of it is delivered again.
func (c *Client) deliverPart(ctx context.Context, part *part) error {
	var delivered, refused int64
	for account, values := range part.read {
		for len(values) > 0 {
			n := min(len(values), perRequest)
			ok, bad, err := c.putSome(ctx, account, values[:n])
			if err != nil {
				return err
			}
			delivered, refused = delivered+ok, refused+bad
			values = values[n:]
		}
	}
	if c.spool.remove(part) {
		c.delivered.Add(delivered)
		c.refused.Add(refused)
	}
	return nil
}

// putSome sends values, and half of them again and again when they are refused, so
// that only those are left out that must be.
func (c *Client) putSome(ctx context.Context, account int64, values []valueJSON) (delivered, refused int64, err error) {
	err = c.put(ctx, account, values)
	var status *StatusError
	switch {
	case err == nil:
		return int64(len(values)), 0, nil
	case !permanent(err):
		return 0, 0, err
	case errors.As(err, &status) && (status.Status == http.StatusForbidden || status.Status == http.StatusNotFound), len(values) == 1:
		c.log.Error("the server refuses values", "account", account, "values", len(values), "first", values[0].Path, "error", err)
		return 0, int64(len(values)), nil
	}
	for half := range 2 {
		cut := len(values) / 2
		part := values[:cut]
		if half == 1 {
			part = values[cut:]
		}
		ok, bad, err := c.putSome(ctx, account, part)
		if err != nil {
			return 0, 0, err
		}
		delivered, refused = delivered+ok, refused+bad
	}
	return delivered, refused, nil
}
