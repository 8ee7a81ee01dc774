package grafolean

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Bounds of the body of a request, in bytes.
const (
	maxBody   = 1 << 20
	maxValues = 16 << 20 // of values
)

// read is the body, at most so many bytes.
func (c *call) read(most int64) ([]byte, error) {
	var from io.Reader = http.MaxBytesReader(c.w, c.r.Body, most)
	switch encoding := c.r.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
	case "gzip":
		unpacked, err := gzip.NewReader(from)
		if err != nil {
			return nil, invalid("the body is not gzip")
		}
		defer unpacked.Close()
		from = unpacked
	default:
		return nil, &answer{status: http.StatusUnsupportedMediaType, detail: "Content-Encoding must be gzip or identity, not " + strconv.Quote(encoding)}
	}
	data, err := io.ReadAll(io.LimitReader(from, most+1))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large) || int64(len(data)) > most:
		return nil, &answer{status: http.StatusRequestEntityTooLarge, detail: "The body has more than " + strconv.FormatInt(most, 10) + " bytes"}
	case err != nil:
		return nil, invalid("the body cannot be read")
	}
	return data, nil
}

// decode reads a body that is a JSON object with these keys, all of which must be there
// but those in optional; other keys are errors (section 4.5).
func (c *call) decode(into any, required, optional []string) error {
	given, data, err := c.object()
	if err != nil {
		return err
	}
	for _, key := range required {
		if _, ok := given[key]; !ok {
			return invalid("%q is missing", key)
		}
	}
	for key := range given {
		if !slices.Contains(required, key) && !slices.Contains(optional, key) {
			return invalid("%q is not known; there are %s", key, strings.Join(slices.Concat(required, optional), ", "))
		}
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return invalid("%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// object is a body that is a JSON object.
func (c *call) object() (map[string]json.RawMessage, []byte, error) {
	data, err := c.read(maxBody)
	if err != nil {
		return nil, nil, err
	}
	var given map[string]json.RawMessage
	if err := json.Unmarshal(data, &given); err != nil || given == nil {
		return nil, nil, invalid("the body must be a JSON object")
	}
	return given, data, nil
}

// typed reads one of the bodies that are answered with 422: an object with exactly these keys, all texts.
func (c *call) typed(into any, keys ...string) error {
	given, data, err := c.object()
	if err != nil {
		return err
	}
	for _, key := range keys {
		var text *string
		switch value, ok := given[key]; {
		case !ok:
			return unprocessable(key, "field required")
		case json.Unmarshal(value, &text) != nil || text == nil:
			return unprocessable(key, "str type expected")
		}
	}
	for key := range given {
		if !slices.Contains(keys, key) {
			return unprocessable(key, "extra fields not permitted")
		}
	}
	return json.Unmarshal(data, into)
}

// number is one in JSON, or in a text, as forms of web pages send it.
type number int64

// UnmarshalJSON implements json.Unmarshaler.
func (n *number) UnmarshalJSON(data []byte) error {
	text := string(data)
	if len(text) > 1 && text[0] == '"' {
		if err := json.Unmarshal(data, &text); err != nil {
			return err
		}
	}
	id, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return errors.New(strconv.Quote(text) + " is not the number of anything")
	}
	*n = number(id)
	return nil
}
