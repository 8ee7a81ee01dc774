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

	// maxSteps is how many steps all subqueries together may go through. The engine
	// takes eight bytes for each before it looks at a sample.
	maxSteps = 4 << 20
)

// parse reads an expression, which is to be evaluated over that many milliseconds.
func (h *Handler) parse(text string, over int64) (parser.Expr, error) {
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
	if err := new(bounds).check(expression, 0, 1, over); err != nil {
		return nil, badParameter("query", text, err.Error())
	}
	return expression, nil
}

var (
	errDeep  = fmt.Errorf("it nests more than %d levels deep", maxDepth)
	errGrows = errors.New("its label_join and label_replace could make labels thousands of times longer")
	errSteps = fmt.Errorf("its subqueries go through more than %d million steps: take a shorter range or a longer step", maxSteps>>20)
)

// bounds counts what an expression would take.
type bounds struct {
	steps int64 // of subqueries
}

// check walks down an expression at depth, with labels growing times longer above
// it, which is evaluated over that many milliseconds.
func (b *bounds) check(node parser.Node, depth, growth int, over int64) error {
	if depth > maxDepth {
		return errDeep
	}
	switch node := node.(type) {
	case *parser.Call:
		switch node.Func.Name {
		case "label_join":
			growth *= max(len(node.Args)-3, 1)
		case "label_replace":
			if text, ok := node.Args[2].(*parser.StringLiteral); ok {
				growth *= max(strings.Count(text.Val, "$"), 1)
			}
		}
		if growth > maxGrowth {
			return errGrows
		}
	case *parser.SubqueryExpr:
		step := node.Step
		if step == 0 {
			step = subqueryStep
		}
		over += node.Range.Milliseconds()
		if b.steps += over / max(step.Milliseconds(), 1); b.steps > maxSteps {
			return errSteps
		}
	}
	for child := range parser.ChildrenIter(node) {
		if err := b.check(child, depth+1, growth, over); err != nil {
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
