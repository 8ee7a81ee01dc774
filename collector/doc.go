// Package collector is for programs that poll: bots. A bot says which jobs there are and
// how often each is done, and a [Collector] does them at the right times, for
// as long as the program runs. What a bot measures goes to a [Sink]; what it is
// to measure, when that is not known beforehand, comes from a [Source]. A [Client] is both,
// over the REST API of Weir, and keeps on disk what cannot be delivered now.
//
// It is the contract of section 1 of the collector specification in Go: the
// same arithmetic of intervals, the same rules for jobs that come, change and go.
package collector
