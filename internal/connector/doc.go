// Package connector hosts Centreon stream connectors: Lua scripts that get the events
// of pollers. Numbers in parentheses are sections of the specification of the
// Centreon host.
//
// It has two halves. The daemon half, [Connector], reads the durable stream, feeds
// a script process and acknowledges what the script acknowledged. The script half
// runs in that process, or in the foreground for weir script run: [Script] loads a
// file, gives it the globals it expects (5), keeps the broker cache and calls its
// functions by the rules of section 1.
package connector
