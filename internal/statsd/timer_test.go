package statsd

import (
	"math"
	"strings"
	"testing"
)

// describe renders a timer's fields and bins as "name=value ...".
func describe(s *Statistics, name string, values []float64, count float64) string {
	t := s.Timer(name, values, count)
	var out []string
	for _, f := range append(t.Fields, t.Histogram...) {
		out = append(out, f.Name+"="+FormatNumber(f.Value))
	}
	return strings.Join(out, " ")
}

func TestStatisticsTimer(t *testing.T) {
	f := func(s *Statistics, values []float64, count float64, want string) {
		t.Helper()
		if got := describe(s, "t1", values, count); got != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	}
	// the worked example of specification section 3.2
	bins := []Histogram{{"other", []float64{1}}, {"t1", []float64{50, 100.5, math.Inf(1)}}}
	f(NewStatistics(1, []float64{50, 90}, bins, nil), []float64{20, 10, 101}, 4,
		"count_50=2 mean_50=15 upper_50=20 sum_50=30 sum_squares_50=500 count_90=3 mean_90=43.666666666666664 "+
			"upper_90=101 sum_90=131 sum_squares_90=10701 std=40.74582459862878 upper=101 lower=10 count=4 count_ps=4 "+
			"sum=131 sum_squares=10701 mean=43.666666666666664 median=20 bin_50=2 bin_100_5=0 bin_inf=1")
	// nothing received
	f(NewStatistics(1, []float64{90}, bins, nil), nil, 0, "count_ps=0 count=0")
	f(NewStatistics(1, []float64{90}, nil, []string{"count"}), nil, 0, "count=0")
	// the checked example of section 2.4, filtered to what it states
	values := func() []float64 { return []float64{12, 5, 33, 8, 91, 2, 47, 60, 5, 19, 73} }
	f(NewStatistics(1, []float64{50, 95, -10, -25.5, 0.5}, nil,
		[]string{"count_percent", "upper_percent", "lower_percent", "mean_percent", "std", "median", "mean"}), values(), 11,
		"count_50=6 mean_50=8.5 upper_50=19 count_95=10 mean_95=26.4 upper_95=73 count_top10=1 mean_top10=91 lower_top10=91 "+
			"std=29.655877568876043 mean=32.27272727272727 median=19")
	f(NewStatistics(1, []float64{-25.5}, nil, []string{"lower_top25_percent", "mean_top25_percent", "count_top25_percent"}), values(), 11,
		"count_top25_5=3 mean_top25_5=74.66666666666667 lower_top25_5=60")
	// a single value is its own percentile
	f(NewStatistics(2, []float64{-10}, nil, []string{"count_percent", "mean_percent", "lower_percent", "sum_percent", "sum_squares_percent", "count_ps"}),
		[]float64{3}, 5, "count_top10=1 mean_top10=3 lower_top10=3 sum_top10=3 sum_squares_top10=9 count_ps=2.5")
	// out of range
	odd := []string{"count_percent", "mean_percent", "lower_percent", "upper_percent", "sum_percent", "sum_squares_percent"}
	f(NewStatistics(1, []float64{-100, 200}, nil, odd), []float64{1, 2}, 2,
		"count_top100=2 mean_top100=NaN lower_top100=1 sum_top100=NaN sum_squares_top100=NaN count_200=4 mean_200=NaN")
}
