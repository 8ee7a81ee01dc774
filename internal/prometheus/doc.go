// Package prometheus shows the series of Weir as Prometheus would: its names, its
// query language and its HTTP API, so that Grafana's Prometheus data source works.
// The language is the engine of Prometheus itself, over a timeseries.Reader.
package prometheus
