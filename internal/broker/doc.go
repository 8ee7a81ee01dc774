// Package broker is what a central broker knows about the installation its pollers
// watch: the names behind the numbers ([Cache]), performance data
// ([ParsePerfdata]), the storage events that only a central broker makes
// ([Synthesizer]), and the series kept of states and metrics ([Points]).
// Numbers in parentheses are sections of the specification of the Centreon host.
//
// A Cache holds one installation: its pollers share one set of host and service
// numbers. Where several installations feed one process, each needs a Cache, a
// Synthesizer and Points of its own, because their numbers collide.
package broker
