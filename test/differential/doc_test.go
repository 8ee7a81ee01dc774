// Package differential runs the reference StatsD daemon, the npm package
// statsd, and weir statsd side by side, feeds both the same inputs and compares
// what comes out: Graphite's lines, the console backend's output and the answers
// of the management console. docs/statsd.md lists what may differ.
//
// What depends on time alone is masked: timestamps, durations, the lag between
// flushes and ages. Everything else must be equal byte for byte, order included.
package differential
