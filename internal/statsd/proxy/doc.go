// Package proxy spreads StatsD lines over several daemons by the names of their metrics, so that each name is
// always added up in one place (StatsD specification section 7).
//
//	socket ─► lane ─► ring ─► buffer per node ─► datagrams
//
// The ring is that of the reference's proxy: the same nodes in a configuration own the same names, so that a proxy
// can be replaced while its peers go on. Lines are not parsed any further than to the end of the name.
//
// A lane is what one reader of the sockets does. It has buffers and sockets of its own, which spread the load over
// the readers of the nodes; the ring is replaced as a whole when a node goes or comes back. What one lane receives in
// one turn is sent on at the end of that turn, with the lines for one node together in as few datagrams as they fit in.
//
// Ledger: "<component>.lines", and those of [statsd.Receiver].
package proxy
