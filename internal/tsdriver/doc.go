// Package tsdriver is the host for timeseries drivers written in Lua (specification of the
// timeseries contract, section 4), and for scripts that use ts_utils.
//
// Like every contract it has two halves. The daemon half, Driver, is a timeseries.Driver: it keeps
// points in a durable queue, feeds them to the script, and asks it questions. The script half is a
// script.Host in a process of its own: one Lua state with the globals ntop and interface, the built-in
// modules, and the driver, whose functions it calls in the way that section 2 describes. Most of what a
// script sees is in the folder prelude; Go has what Lua cannot do: files, HTTP, queues.
package tsdriver
