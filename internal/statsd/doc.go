// Package statsd is the StatsD server: wire parser, aggregation and flush.
//
// A packet (one datagram, or the complete lines of one read of a stream
// socket) is split into lines; a line carries one key and any number of
// values, each with a type and a sample rate of its own. The rules are those
// of the reference daemon down to JavaScript's idea of a number, because a
// drop-in replacement is judged by its output.
package statsd
