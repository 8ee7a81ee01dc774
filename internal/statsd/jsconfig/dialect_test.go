package jsconfig

import (
	"strings"
	"testing"

	"github.com/weirhq/weir/internal/statsd"
)

// A drop-in is strict unless its file asks for something else.
func TestDialect(t *testing.T) {
	for text, want := range map[string]statsd.Dialect{
		"{}": statsd.Strict, "{dialect: ''}": statsd.Strict, "{dialect: 'statsd'}": statsd.Strict, "{dialect: 'dogstatsd'}": statsd.DogStatsD,
	} {
		file, err := Parse("config.js", []byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if file.StatsD.Dialect != want {
			t.Errorf("%s: %v", text, file.StatsD.Dialect)
		}
	}
	if _, err := Parse("config.js", []byte("{\n dialect: 'DogStatsD'}")); err == nil || !strings.HasPrefix(err.Error(), `config.js:2:11: dialect: "DogStatsD" is not`) {
		t.Error(err)
	}
}
