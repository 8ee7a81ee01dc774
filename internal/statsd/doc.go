// Package statsd is the StatsD server: listeners, wire parser, aggregation and
// flush, as the StatsD specification describes them.
//
//	socket ─► reader ─► Parser ─► shard ┐
//	socket ─► reader ─► Parser ─► shard ┼─► flush ─► runner ─► backend
//	connection ───────────────────┘     ┘       └─► runner ─► backend
//
// A packet (one datagram, or the complete lines of one read of a stream
// socket) is split into lines; a line carries one key and any number of
// values, each with a type and a sample rate of its own. The rules are those
// of the reference daemon down to JavaScript's idea of a number, because a
// drop-in replacement is judged by its output.
//
// Every UDP address has one socket, one reader and one shard of the
// aggregation per core, and stream connections are dealt to the shards in
// turn. A shard adds up under a lock of its own that nobody else wants but a
// flush, and that only to change halves: every cell of a shard has two, one for
// the running interval and one for the interval being flushed. Counters, timers
// and sets are put together at the flush; the value of a gauge, where the order
// of arrival matters, is one word all shards change.
//
// What a name is, where it stands in the order of flushes, whether it was
// deleted: all that is known once, in names. A shard asks for it at the first
// value of a name and keeps a cell from then on.
//
// Backends run in goroutines of their own. A backend that is slow, hangs,
// fails or panics loses flushes of its own, counted and logged, and delays
// neither intake nor the other backends.
//
// Ledgers: "statsd.packets" (with the drops of the kernel), "statsd.values",
// "statsd.notices" (events and service checks of DogStatsD),
// "statsd.connections", "statsd.backend.<name>" and, for backends that see
// packets, "statsd.backend.<name>.packets".
package statsd
