// Package plaintext takes in Graphite's plaintext protocol, "PATH VALUE TIMESTAMP" lines, over TCP and UDP.
package plaintext
