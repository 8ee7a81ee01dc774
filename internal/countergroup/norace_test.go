//go:build !race

package countergroup

// floodKeys is how many keys a window of a large flood has.
const floodKeys = 1_000_000
