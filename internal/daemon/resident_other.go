//go:build !linux

package daemon

// releaseCode does nothing where the kernel is not told which pages to keep.
func releaseCode() {}
