package grafolean

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/weirhq/weir/internal/inventory"
)

// answer is what a request is answered with instead of what it asked for: the forms of section 3.3.
type answer struct {
	status int
	text   string // plain text, when detail is nil
	detail any    // JSON {"detail": ...}
	after  int    // seconds of Retry-After, 0 for none
}

// Error implements error.
func (a *answer) Error() string {
	if a.detail != nil {
		return fmt.Sprint(a.detail)
	}
	return a.text
}

// Answers of the authentication, which are plain text.
var (
	errDenied    = &answer{status: http.StatusUnauthorized, text: "Access denied"}
	errForbidden = &answer{status: http.StatusForbidden, text: "Access to resource denied, insufficient permissions"}
)

// notFound says that there is no such thing.
func notFound(what string) error {
	return &answer{status: http.StatusNotFound, detail: "No such " + what}
}

// failed is a check of a handler that failed.
func failed(status int, format string, args ...any) error {
	return &answer{status: status, detail: fmt.Sprintf(format, args...)}
}

// invalid is input that is not valid.
func invalid(format string, args ...any) error {
	return &answer{status: http.StatusBadRequest, text: "Input validation failed: " + fmt.Sprintf(format, args...)}
}

// unprocessable is a body with types that is not of those types.
func unprocessable(field, message string) error {
	return &answer{status: http.StatusUnprocessableEntity, detail: []map[string]any{{"loc": []string{"body", field}, "msg": message, "type": "value_error"}}}
}

// missing says what an inventory.ErrNotFound means here.
func missing(err error, what string) error {
	if errors.Is(err, inventory.ErrNotFound) {
		return notFound(what)
	}
	return err
}

// fail answers with an error.
func (c *call) fail(err error) {
	var a *answer
	var wrong *inventory.InvalidError
	switch {
	case errors.As(err, &a):
	case errors.As(err, &wrong):
		a = &answer{status: http.StatusBadRequest, text: "Input validation failed: " + wrong.Text}
	case errors.Is(err, inventory.ErrConflict):
		a = &answer{status: http.StatusConflict, detail: "The name is taken"}
	case errors.Is(err, inventory.ErrNotFound):
		a = &answer{status: http.StatusNotFound, detail: "Not Found"}
	case c.r.Context().Err() != nil:
		return // nobody reads it
	default:
		c.s.warn.Warn("cannot answer", "method", c.r.Method, "path", c.r.URL.Path, "error", err)
		a = &answer{status: http.StatusServiceUnavailable, text: "Service unavailable", after: 5}
	}
	if a.after > 0 {
		c.w.Header().Set("Retry-After", fmt.Sprint(a.after))
	}
	if a.detail != nil {
		c.json(a.status, map[string]any{"detail": a.detail})
		return
	}
	c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	c.w.WriteHeader(a.status)
	fmt.Fprint(c.w, a.text)
}

// json answers with JSON.
func (c *call) json(status int, value any) {
	encoded, err := json.Marshal(value)
	if err != nil {
		c.s.log.Error("cannot encode an answer", "path", c.r.URL.Path, "error", err)
		status, encoded = http.StatusInternalServerError, []byte(`{"detail":"Internal Server Error"}`)
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	c.w.Write(encoded)
}

// ok answers 200 with JSON.
func (c *call) ok(value any) error {
	c.json(http.StatusOK, value)
	return nil
}

// created answers 201 with the id of what was made.
func (c *call) created(id int64) error {
	c.json(http.StatusCreated, map[string]int64{"id": id})
	return nil
}

// done answers 204.
func (c *call) done() error {
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// list answers with a list.
func list[T any](c *call, all []T, err error) error {
	if err != nil {
		return err
	}
	return c.ok(map[string][]T{"list": all})
}
