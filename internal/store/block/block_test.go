package block

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

const start = 1_700_000_000

var nan = math.NaN()

// decode reads a whole block back, row after row.
func decode(t testing.TB, data []byte) (times []int64, columns [][]float64, b Block) {
	t.Helper()
	b, err := Parse(data, start)
	if err != nil {
		t.Fatal(err)
	}
	if times, err = b.Times(nil); err != nil {
		t.Fatal(err)
	}
	var column []float64
	var scratch []int64
	for m := range b.Metrics {
		if column, scratch, err = b.Column(m, nil, scratch); err != nil {
			t.Fatal(err)
		}
		columns = append(columns, column)
	}
	return times, columns, b
}

func sameValues(a, b []float64) bool {
	return slices.EqualFunc(a, b, func(x, y float64) bool { return same(x, y) || x != x && y != y })
}

// every returns times step seconds apart.
func every(step int64, n int) []int64 {
	times := make([]int64, n)
	for i := range times {
		times[i] = start + int64(i)*step
	}
	return times
}

// series makes n values with next.
func series(n int, next func(i int, last float64) float64) []float64 {
	values := make([]float64, n)
	last := 0.0
	for i := range values {
		last = next(i, last)
		values[i] = last
	}
	return values
}

func noisyCounter(seed uint64, n int, mean, noise float64) []float64 {
	r := rand.New(rand.NewPCG(seed, 1))
	return series(n, func(i int, last float64) float64 {
		if i == 0 {
			return float64(r.IntN(1 << 30))
		}
		return last + math.Round(mean+noise*(2*r.Float64()-1))
	})
}

func TestRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	f := func(name string, values []float64, most int) {
		t.Helper()
		var e Encoder
		times := every(60, len(values))
		data := e.Append(nil, start, times, [][]float64{values})
		gotTimes, got, b := decode(t, data)
		gotValues := got[0]
		if !slices.Equal(gotTimes, times) || !sameValues(gotValues, values) {
			t.Errorf("%s: got %v %v, want %v %v", name, gotTimes, gotValues, times, values)
		}
		if b.First != times[0] || b.Last != times[len(times)-1] {
			t.Errorf("%s: first %d last %d", name, b.First, b.Last)
		}
		if len(data) > most {
			t.Errorf("%s: %d bytes, want at most %d", name, len(data), most)
		}
	}
	f("one value", []float64{42}, 22)
	f("constant", series(120, func(int, float64) float64 { return 7 }), 28)
	f("steady counter", series(120, func(_ int, v float64) float64 { return v + 600 }), 34)
	f("noisy counter", noisyCounter(3, 120, 10_000, 500), 2*120)
	f("counter with a reset", series(120, func(i int, v float64) float64 {
		if i == 60 {
			return 0
		}
		return v + 1e6 + float64(r.IntN(1000))
	}), 2*120)
	f("gauge of whole numbers", series(120, func(int, float64) float64 { return 50 + float64(r.IntN(16)) }), 110)
	f("gauge with two decimals", series(120, func(int, float64) float64 { return math.Round(r.Float64()*1000) / 100 }), 240)
	f("slow float", series(120, func(i int, _ float64) float64 { return 20 + math.Sin(float64(i)/100) }), 1000)
	f("noise", series(120, func(int, float64) float64 { return r.NormFloat64() }), 1100)
	f("spikes", series(120, func(i int, _ float64) float64 {
		if i%40 == 7 {
			return 1e12
		}
		return float64(r.IntN(4))
	}), 110)
	f("extremes", []float64{math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, 0, math.Copysign(0, -1), 1 << 53, -1 << 53, 1<<53 - 1, 1 - 1<<53, 0.1, 1e300}, 200)
	f("widest integers", []float64{1<<53 - 1, 1 - 1<<53, 1<<53 - 1, 0, 1 - 1<<53, 1<<53 - 1, 3}, 120)
	f("gaps", []float64{nan, 3, nan, nan, 5, 8.5, nan}, 60)
	f("nothing", []float64{nan, nan}, 16)
}

func TestSummary(t *testing.T) {
	f := func(values []float64, want Summary) {
		t.Helper()
		var e Encoder
		_, _, b := decode(t, e.Append(nil, start, every(10, len(values)), [][]float64{values}))
		got, err := b.Summary(0)
		if err != nil || got != want {
			t.Errorf("%v: got %+v (%v), want %+v", values, got, err, want)
		}
	}
	f([]float64{1, 4, 9}, Summary{Count: 3, First: 1, Last: 9, FirstTime: start, LastTime: start + 20, Sum: 14, Min: 1, Max: 9, Increment: 8})
	f([]float64{100, 150, 0, 20, 10}, Summary{Count: 5, First: 100, Last: 10, FirstTime: start, LastTime: start + 40, Sum: 280, Min: 0, Max: 150, Increment: 70})
	f([]float64{nan, 2.5, nan, 1.5, nan}, Summary{Count: 2, First: 2.5, Last: 1.5, FirstTime: start + 10, LastTime: start + 30, Sum: 4, Min: 1.5, Max: 2.5})
	f([]float64{nan, nan}, Summary{})
}

func TestSumKeepsWhatAFloatLoses(t *testing.T) {
	var e Encoder
	b, err := Parse(e.Append(nil, start, every(10, 700), [][]float64{series(700, func(int, float64) float64 { return 0.3 })}), start)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := b.Summary(0); err != nil || s.Sum != 210 {
		t.Errorf("0.3 seven hundred times is %v (%v), want 210", s.Sum, err)
	}
}

func TestColumnsStandAlone(t *testing.T) {
	var e Encoder
	want := [][]float64{{1, 2, 3}, {10, 20, 30}, {nan, nan, 0.5}}
	_, got, b := decode(t, e.Append(nil, start, every(1, 3), want))
	if !slices.EqualFunc(got, want, sameValues) {
		t.Errorf("got %v, want %v", got, want)
	}
	last, _, err := b.Column(2, nil, nil)
	if err != nil || !sameValues(last, []float64{nan, nan, 0.5}) {
		t.Errorf("column 2: %v %v", last, err)
	}
	first, _, err := b.Column(0, nil, nil)
	if err != nil || !sameValues(first, []float64{1, 2, 3}) {
		t.Errorf("column 0 after 2: %v %v", first, err)
	}
	unknown, _, err := b.Column(3, nil, nil)
	if err != nil || !sameValues(unknown, []float64{nan, nan, nan}) {
		t.Errorf("a metric the block does not have: %v %v", unknown, err)
	}
	if s, err := b.Summary(3); err != nil || s.Count != 0 {
		t.Errorf("its summary: %v %v", s, err)
	}
}

func TestRandomBlocks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		metrics := rapid.IntRange(1, 4).Draw(t, "metrics")
		gaps := rapid.SliceOfN(rapid.IntRange(1, 200), 1, 300).Draw(t, "gaps")
		times := make([]int64, len(gaps))
		now := int64(start - 1)
		for i, gap := range gaps {
			now += int64(gap)
			times[i] = now
		}
		value := rapid.OneOf(
			rapid.Map(rapid.Int64Range(-1<<53, 1<<53), func(n int64) float64 { return float64(n) }),
			rapid.Map(rapid.IntRange(-1000, 1000), func(n int) float64 { return float64(n) / 100 }),
			rapid.Float64(), rapid.Just(nan), rapid.Just(5.0),
		)
		columns := make([][]float64, metrics)
		for m := range columns {
			columns[m] = rapid.SliceOfN(value, len(times), len(times)).Draw(t, "values")
		}
		var e Encoder
		data := e.Append(nil, start, times, columns)
		b, err := Parse(data, start)
		if err != nil {
			t.Fatal(err)
		}
		gotTimes, err := b.Times(nil)
		if err != nil || !slices.Equal(gotTimes, times) {
			t.Fatalf("times %v (%v), want %v", gotTimes, err, times)
		}
		for m := range metrics {
			column, _, err := b.Column(m, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if !sameValues(column, columns[m]) {
				t.Fatalf("metric %d: got %v, want %v", m, column, columns[m])
			}
		}
	})
}

// Whatever bit is turned over, the block is refused.
func TestDamageIsFound(t *testing.T) {
	var e Encoder
	data := e.Append(nil, start, every(60, 120), [][]float64{noisyCounter(1, 120, 1000, 100)})
	for i := range len(data) * 8 {
		damaged := slices.Clone(data)
		damaged[i/8] ^= 1 << (i % 8)
		if _, err := Parse(damaged, start); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("bit %d: %v", i, err)
		}
	}
	for n := range data {
		if _, err := Parse(data[:n], start); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
}

// A counter whose increments vary must take at most 2 bytes per value, key space not included.
func TestBytesPerValue(t *testing.T) {
	for _, noise := range []float64{10, 100, 1000, 2000} {
		var e Encoder
		total := 0
		for seed := range 100 {
			total += len(e.Append(nil, start, every(60, 120), [][]float64{noisyCounter(uint64(seed), 120, 10_000, noise)}))
		}
		perValue := float64(total) / (100 * 120)
		t.Logf("increments 10000 +- %v: %.2f bytes per value", noise, perValue)
		if perValue > 2 {
			t.Errorf("increments 10000 +- %v: %.2f bytes per value, want at most 2", noise, perValue)
		}
	}
}

// FuzzBlock decodes any bytes, with a checksum that fits so that the decoder
// behind it is reached: an error or rows within the limits, never a panic.
func FuzzBlock(f *testing.F) {
	var e Encoder
	f.Add(e.Append(nil, start, every(60, 120), [][]float64{noisyCounter(1, 120, 1000, 100)}))
	f.Add(e.Append(nil, start, every(1, 3), [][]float64{{1, 2, 3}, {10, 20, 30}, {nan, nan, 0.5}}))
	f.Add(e.Append(nil, start, every(7, 4), [][]float64{{math.Pi, math.E, 1e300, -1}}))
	f.Add(e.Append(nil, start, every(7, 4), [][]float64{{0.25, 1e12, 7, 8}}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > headerSize {
			data = slices.Clone(data)
			data[0] = version
			binary.LittleEndian.PutUint32(data[1:], crc32.Checksum(data[headerSize:], castagnoli))
		}
		b, err := Parse(data, start)
		if err != nil {
			return
		}
		times, err := b.Times(nil)
		if err == nil && (len(times) != b.Rows || !slices.IsSorted(times)) {
			t.Fatalf("%d times for %d rows: %v", len(times), b.Rows, times)
		}
		var columns [][]float64
		most := 8
		if b.Rows > 500 {
			most = 1
		}
		for m := range min(b.Metrics, most) {
			if _, err := b.Summary(m); err != nil && !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			column, _, err := b.Column(m, nil, nil)
			if err != nil {
				continue
			}
			if len(column) != b.Rows {
				t.Fatalf("%d values for %d rows", len(column), b.Rows)
			}
			columns = append(columns, column)
		}
		if err != nil || len(columns) == 0 || b.Last-start >= MaxRows || b.Rows > 500 { // long ones take long
			return
		}
		var e Encoder
		again, err := Parse(e.Append(nil, start, times, columns), start)
		if err != nil {
			t.Fatal(err)
		}
		for m, want := range columns {
			column, _, err := again.Column(m, nil, nil)
			if err != nil || !sameValues(column, want) {
				t.Fatalf("metric %d: got %v (%v), want %v", m, column, err, want)
			}
		}
	})
}
