//go:build !linux

// Package resident keeps in memory what is used.
package resident

// Trim does nothing where the kernel maps pages one by one.
func Trim() {}
