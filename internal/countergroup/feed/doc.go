// Package feed counts in groups what other parts of Weir take in: StatsD metrics at every flush, events of pollers, and the
// points of series. A Spec says what is counted of which source; Compile checks it; a Feeder does it.
package feed
