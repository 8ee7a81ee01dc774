// Package writes is what the protocols share that let other programs write series
// (InfluxDB's line protocol, Prometheus' remote write, Graphite's plaintext): schemas made
// on demand, a dictionary from what is on the wire to tags, batches, the account, and HTTP bodies.
package writes
