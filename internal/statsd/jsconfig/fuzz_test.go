package jsconfig

import (
	"testing"
	"time"
)

// FuzzRead checks that no file takes longer than promised or brings the process down.
func FuzzRead(f *testing.F) {
	for _, text := range []string{
		"{port: 8125}", "/* c */ {a: [1, , 2], // x\n b: /r/g, c: function () { return 1 }}", "{a: require('os').hostname().split('.')[0]}",
		"{servers: [{server: './servers/tcp', port: 1, socket: 'x', socket_mod: '0777'}]}", "module.exports = {backends: ['./backends/console']}",
		"{percentThreshold: [0, '1e1', -5.5], histogram: [{metric: '', bins: [1, 'inf']}]}", "{flushInterval: {valueOf: function () { return 5 }}}",
		"{get port() { throw 1 }}", "{prefixStats: process.env.X || `a${1}`, keyFlush: {interval: 1, percent: 2, log: 'x'}}", "5", "", "{a: Symbol()}",
		"{port: Symbol()}", "new Proxy({}, {get: function () { return 1 }})", "Object.create(null)", "Object.freeze({})",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		start := time.Now()
		file, err := Parse("config.js", text)
		if took := time.Since(start); took > patience+5*time.Second {
			t.Errorf("took %v", took)
		}
		if (file == nil) == (err == nil) {
			t.Errorf("got %v and %v", file, err)
		}
		if file != nil && (file.StatsD.FlushInterval < time.Millisecond || file.StatsD.GaugeTTL < 1) {
			t.Errorf("accepted %+v", file.StatsD)
		}
	})
}
