package timeseries

import "math"

// Part is what is known of one slot of a grid from some of its raw slots.
type Part struct {
	Value float64 // by Mean the sum of the known raw slots, otherwise the largest, smallest or last of them
	Known float64 // how many are known; a share of one where a longer slot was divided
}

// Add puts b, of the same slot and later in it, together with p.
func (p *Part) Add(how Aggregation, b Part) {
	switch {
	case b.Known == 0:
	case p.Known == 0:
		*p = b
	default:
		switch how {
		case Max:
			p.Value = max(p.Value, b.Value)
		case Min:
			p.Value = min(p.Value, b.Value)
		case Last:
			p.Value = b.Value
		default:
			p.Value += b.Value
		}
		p.Known += b.Known
	}
}

// point is the value of a slot of that many raw slots: NaN when less than half of
// it is known (specification section 2.5, R10).
func (p Part) point(how Aggregation, raw float64) float64 {
	switch {
	case p.Known == 0 || 2*p.Known < raw:
		return math.NaN()
	case how == Mean:
		return p.Value / p.Known
	default:
		return p.Value
	}
}

// Points appends the points that parts, one for each slot of g, make.
func (g Grid) Points(dst []float64, parts []Part) []float64 {
	end := g.Start
	for _, p := range parts {
		passed := min(g.Step, g.End-end)
		end += g.Step
		dst = append(dst, p.point(g.How, float64(passed)/float64(g.RawStep)))
	}
	return dst
}
