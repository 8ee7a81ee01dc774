// Package countergroup keeps counter groups: for every key of a group the values of its meters, added up
// over windows that are aligned to the clock. Flow records, StatsD metrics, events and scripts
// feed it; monitors and the store take what a window held.
//
// A Registry knows the groups; an Engine keeps their values. Producers fill a Batch each and send it.
// Engine.Tick closes a second and, at the end of a window, runs the flush: each
// group's rows pass through the stages in their order, which may look at rows, change them and drop
// them. Keys are spread over shards by hash, each with a lock of its own, so that
// producers on several cores do not wait for each other; a flush takes the filled rows out of every shard
// at one moment, which takes microseconds, and works on them while the next window fills.
//
// The rules are sections 1, 2.3, 2.5, 2.6, 2.8 and 4.2 of the specification of counter groups. Values are float64 from end
// to end, times are Unix seconds.
package countergroup
