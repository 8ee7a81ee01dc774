package prometheus

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// Bounds of an expression, so that none takes memory out of proportion to what it is about.
const (
	maxQuery = 64 << 10 // bytes
	maxDepth = 500      // of what is inside what

	// maxGrowth is how many times longer than the labels it is about an expression
	// may make a label, as label_join and label_replace can.
	maxGrowth = 4096
)

// parse reads an expression.
func (h *Handler) parse(text string) (parser.Expr, error) {
	if len(text) > maxQuery {
		return nil, badParameter("query", text, fmt.Sprintf("it is %d bytes long, at most %d are allowed", len(text), maxQuery))
	}
	if text == "" {
		return nil, badParameter("query", "", "it is needed: an expression such as rate(statsd_counter_value[5m])")
	}
	expression, err := h.parser.ParseExpr(text)
	if err != nil {
		return nil, &failure{http.StatusBadRequest, "bad_data", "invalid parameter \"query\": " + err.Error()}
	}
	if err := bounded(expression, 0, 1); err != nil {
		return nil, badParameter("query", text, err.Error())
	}
	return expression, nil
}

var (
	errDeep  = fmt.Errorf("it nests more than %d levels deep", maxDepth)
	errGrows = errors.New("its label_join and label_replace could make labels thousands of times longer")
)

// bounded walks down an expression at depth, with labels growing times longer above it.
func bounded(node parser.Node, depth, growth int) error {
	if depth > maxDepth {
		return errDeep
	}
	if call, ok := node.(*parser.Call); ok {
		switch call.Func.Name {
		case "label_join":
			growth *= max(len(call.Args)-3, 1)
		case "label_replace":
			if text, ok := call.Args[2].(*parser.StringLiteral); ok {
				growth *= max(strings.Count(text.Val, "$"), 1)
			}
		}
		if growth > maxGrowth {
			return errGrows
		}
	}
	for child := range parser.ChildrenIter(node) {
		if err := bounded(child, depth+1, growth); err != nil {
			return err
		}
	}
	return nil
}

// selector reads a selector of series, which must not match all of them.
func (h *Handler) selector(text string) ([]*labels.Matcher, error) {
	if len(text) > maxQuery {
		return nil, badParameter("match[]", text, fmt.Sprintf("it is %d bytes long, at most %d are allowed", len(text), maxQuery))
	}
	matchers, err := h.parser.ParseMetricSelector(text)
	if err != nil {
		return nil, &failure{http.StatusBadRequest, "bad_data", "invalid parameter \"match[]\": " + err.Error()}
	}
	for _, m := range matchers {
		if !m.Matches("") {
			return matchers, nil
		}
	}
	return nil, badParameter("match[]", text, "it must contain at least one matcher that does not match the empty text")
}

// labelName is a name as it stands in a path, where clients write what is no
// plain name as "U__..."; "" when it cannot be one.
func labelName(text string) string {
	if strings.HasPrefix(text, "U__") {
		text = model.UnescapeName(text, model.ValueEncodingEscaping)
	}
	if !model.UTF8Validation.IsValidLabelName(text) {
		return ""
	}
	return text
}

// lookback is how long a sample counts as the current one: two steps where a schema
// that the expression asks for has points further apart than every five minutes'
// half. What came from Prometheus has no step of its own.
func (r *reading) lookback(ctx context.Context, expression parser.Expr) (time.Duration, error) {
	schemas, err := r.source.Schemas(ctx)
	if err != nil {
		return 0, stored{err}
	}
	wanted := lookback
	parser.Inspect(expression, func(node parser.Node, _ []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		for _, schema := range schemas {
			step := 2 * time.Duration(schema.Step) * time.Second
			if _, foreign := nameOf(schema.Name); !foreign && step > wanted && newTarget(schema, selector.LabelMatchers) != nil {
				wanted = step
			}
		}
		return nil
	})
	return wanted, nil
}
