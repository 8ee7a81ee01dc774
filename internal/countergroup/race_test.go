//go:build race

package countergroup

// floodKeys is how many keys a window of a large flood has: with the race detector each takes a multiple of time.
const floodKeys = 300_000
