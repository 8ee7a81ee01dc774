// Package lineprotocol takes in what InfluxDB's clients write: line protocol over HTTP,
// as versions 1 and 2 of InfluxDB take it, with their answers.
package lineprotocol
