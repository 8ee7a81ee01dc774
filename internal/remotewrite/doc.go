// Package remotewrite takes in what Prometheus and programs like it send with remote
// write, versions 1 and 2 of the protocol.
package remotewrite
