// Package monitor is the host for Trisul scripts: counter group monitors and the other script types
// that a deployment of them needs.
//
// Like every contract it has two halves. The script half (script*.go and the folder prelude) is a
// script.Host: it runs one file in a process of its own, with one isolated Lua state per instance, that
// is per counter group the file is attached to. The daemon half finds files, attaches them to groups,
// feeds windows and seconds, and carries out what scripts ask for. frames.go is what they say to each other.
package monitor
