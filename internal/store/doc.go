// Package store is the embedded timeseries driver. It keeps series in a database
// of its own in one directory, on Pebble, a log-structured key-value store.
//
// # Model
//
// A point goes three ways at once. It is looked up in the dictionary, which gives
// each combination of tag values of a schema a number, its series. It becomes part
// of a journal record, one per append, which Pebble writes to its log. And it becomes a
// row in memory, in the open block of its series that its time belongs to.
//
// A checkpoint, when rows in memory or the journal reach a size, merges all rows in
// memory into blocks (package block) in the database and drops the journal records
// they came from. A block holds all metrics of one series over one span of
// time, a fixed number of seconds per schema, about 120 steps. Rows that arrive late,
// twice, or after a restart need no path of their own: they are rows in memory
// of an older block, and the last row of a time wins.
//
// Queries read blocks and lay the rows in memory over them. The arithmetic on
// samples (rates, slots, volumes) is that of package timeseries.
//
// # Keys
//
//	schema     number                            -> definition, as JSON
//	series     schema number                     -> first block start, tag values
//	lookup     hash of schema and tag values     -> numbers of series
//	index      schema tag value number           -> nothing; also for keys inside the packed tag
//	journal    number                            -> points of one append
//	data       tier, block start, schema, number -> block
//	quarantine time, key                         -> what stood there and could not be read
//
// Data keys begin with the time, so that one range of keys is what a query over many
// series reads and what retention deletes. The tier is 0 for points; others are rollups.
// Numbers of series are never used again: a journal record or block of a series
// without a record is that of a deleted one.
//
// # Rollups
//
// A tier of a schema holds slots of a fixed length (rollup.go says what of each), made
// from the points or from a shorter tier. Up to the time Rolled of a tier, its slots
// are at any moment what the blocks of points make of them: a checkpoint that puts
// late points into blocks makes the slots that these reach into anew in the same
// batch, and a crash leaves both or neither. Late points still in memory are laid over
// by reading points, not slots, from where the first of them reaches to. Points
// are deleted between two slots, after slots were made of them; Floor says up to where
// they are gone before they go, and a reader that this overtakes begins anew.
//
// A question is divided among the sources that have its range: longest slots first
// that lie in it, or in a step of it, as a whole, then points, and slots in part only
// where there is nothing else (cover.go).
//
// # Durability
//
// Append returns when its record has been written to the log file, and so survives
// the death of the process. The log is synced to the device every second: a power
// failure costs at most what came after, never older points. All changes to the
// dictionary go through the same sequence of commits as the points that need them.
//
// # Failures
//
// When the disk is full or fails, appends are refused with the reason, queries are
// answered from what can be read, and the database is opened again as soon as
// that works (recovery.go). Blocks and records that cannot be decoded are set aside under
// a quarantine key, counted, and left out; nothing is deleted because it is damaged.
package store
