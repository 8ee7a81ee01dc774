package management

import (
	"strings"
	"sync/atomic"
)

// Health is what the command health answers: whether the daemon is to be used. The zero value says it is.
type Health struct{ sick atomic.Bool }

// SetHealthy sets the answer, until a client changes it.
func (h *Health) SetHealthy(healthy bool) { h.sick.Store(!healthy) }

// Healthy is the answer.
func (h *Health) Healthy() bool { return !h.sick.Load() }

// Answer carries out the command health, after an operator perhaps changed it.
func (h *Health) Answer(arguments []string) string {
	if len(arguments) > 0 {
		switch strings.ToLower(arguments[0]) {
		case "up":
			h.SetHealthy(true)
		case "down":
			h.SetHealthy(false)
		}
	}
	if h.Healthy() {
		return "health: up\n"
	}
	return "health: down\n"
}
