package stream

// Claim says which consumers are configured: those called names, and those that
// [Stream.Consumer] is asked for afterwards. The others stay with their events,
// within MaxAge and MaxBytes, until Delete; at MaxBytes they are the first to
// lose events, counted as not_configured, before anything is refused or taken
// from consumers that are configured. It is called after Start, and again when
// the configuration changes. Before the first call every consumer counts as
// configured.
func (s *Stream) Claim(names []string) {
	s.mu.Lock()
	s.claimed = make(map[string]bool)
	for _, name := range names {
		s.claimed[name] = true
	}
	waiting := make(map[string]int64)
	for name, c := range s.consumers {
		if !s.claimed[name] {
			c.mu.Lock()
			waiting[name] = int64(s.last.event) - int64(min(s.last.event, c.acked))
			c.mu.Unlock()
		}
	}
	s.mu.Unlock()
	for name, events := range waiting {
		s.log.Warn("stream: events are kept for a queue that is not configured; weir queue rm lets them go", "consumer", name, "events", events)
	}
}

// isClaimed reports whether a consumer is configured. The lock must be held.
func (s *Stream) isClaimed(name string) bool { return s.claimed == nil || s.claimed[name] }

// dropUnclaimed makes room with the oldest events that only unclaimed consumers
// need, and reports whether it could.
func (s *Stream) dropUnclaimed(l *link) bool {
	s.mu.Lock()
	all, needed := true, s.last.message // never the last one, which says how far the numbers of events are
	for name, c := range s.consumers {
		if !s.isClaimed(name) {
			all = false
			continue
		}
		c.mu.Lock()
		needed = min(needed, c.saved.Message)
		c.mu.Unlock()
	}
	s.mu.Unlock()
	if all {
		return false
	}
	state, err := l.state(s.ctx)
	if err != nil || needed <= state.FirstSeq {
		return false
	}
	before := min(needed, state.FirstSeq+1+(state.LastSeq-state.FirstSeq)/dropPart)
	if err := s.dropBefore(l, before, "not_configured"); err != nil {
		s.failed.Warn("stream: cannot drop the events of queues that are not configured", "error", err)
		return false
	}
	return true
}
