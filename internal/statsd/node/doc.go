// Package node hosts StatsD backends and servers that are Node modules, as they
// are (StatsD specification sections 3 and 8). They run in a child process, one
// for all of a Host, under the supervisor of [script]: the daemon runs no user code.
//
// A Host is a [backend.Backend] like the native ones. Its flushes go to the child
// as the metrics hash in JSON, its packets in batches of their own format, and only
// while a module listens to them; wire.go says how. The child's half is host.js.
//
// The modules of a Host share what they share in the reference daemon: the
// configuration, the emitter and the metrics of a flush. A listener that throws costs
// the others nothing. What ends the process ends it for all of them, and they are
// loaded again in a new one; who wants them apart gives each a Host.
package node
