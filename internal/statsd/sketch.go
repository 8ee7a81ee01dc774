package statsd

import (
	"math"
	"slices"

	"github.com/DataDog/sketches-go/ddsketch"
)

// Bounds of what a distribution keeps in one interval and shard.
const (
	exactValues    = 1024 // as they came
	sketchAccuracy = 0.01 // relative error of the others
	sketchBins     = 2048 // 16 KiB for each sign; with more than this the values nearest to 0 become less exact
)

// sketch holds any number of values with a relative error of sketchAccuracy. The least and the greatest are exact.
// Sketches of different shards have the same bins and so become one by putting their values together.
type sketch struct {
	bins      *ddsketch.DDSketch
	count     int
	low, high float64
}

func newSketch() *sketch {
	bins, err := ddsketch.LogCollapsingLowestDenseDDSketch(sketchAccuracy, sketchBins)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return &sketch{bins: bins}
}

// add takes in v unless no bin can hold it, such as infinity.
func (k *sketch) add(v float64) bool {
	if k.bins.Add(v) != nil {
		return false
	}
	if k.count++; k.count == 1 {
		k.low, k.high = v, v
	}
	k.low, k.high = math.Min(k.low, v), math.Max(k.high, v)
	return true
}

// appendTo appends the values in ascending order.
func (k *sketch) appendTo(dst []float64) []float64 {
	from := len(dst)
	k.bins.ForEach(func(v, count float64) bool {
		v = math.Min(math.Max(v, k.low), k.high)
		for range int(count) {
			dst = append(dst, v)
		}
		return false
	})
	if slices.Sort(dst[from:]); len(dst) > from {
		dst[from], dst[len(dst)-1] = k.low, k.high
	}
	return dst
}

func (k *sketch) reset() {
	k.bins.Clear()
	k.count = 0
}

// distribute adds a value of a distribution.
func (b *bulk) distribute(half int, v float64) {
	if len(b.values[half]) >= exactValues {
		k := b.sketches[half]
		if k == nil {
			k = newSketch()
			b.sketches[half] = k
		}
		if k.add(v) {
			return
		}
	}
	b.values[half] = append(b.values[half], v)
}

// len is how many values there are.
func (b *bulk) len(half int) int {
	n := len(b.values[half])
	if k := b.sketches[half]; k != nil {
		n += k.count
	}
	return n
}

// appendValues appends all values, those that were kept as they came first.
func (b *bulk) appendValues(dst []float64, half int) []float64 {
	dst = append(dst, b.values[half]...)
	if k := b.sketches[half]; k != nil {
		dst = k.appendTo(dst)
	}
	return dst
}
