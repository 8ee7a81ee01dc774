package writes

import (
	"hash/maphash"
	"sync"
)

// A Dictionary holds what is known of series by the bytes that name them on the
// wire, so that what comes again and again is taken apart once. It forgets what was
// not used for long when it grows too large. Any goroutine.
type Dictionary[T any] struct {
	seed   maphash.Seed
	shards [shardCount]shard[T]
}

const (
	shardCount  = 64
	shardBudget = 1 << 20 // bytes of a generation
	entryCost   = 160     // bytes of an entry besides its key, about
)

// shard has two generations: what is found in the old one moves to the young one,
// which becomes the old one when it is full.
type shard[T any] struct {
	mu         sync.RWMutex
	young, old map[string]*T
	size       int // bytes of young
}

// NewDictionary returns an empty Dictionary.
func NewDictionary[T any]() *Dictionary[T] {
	return &Dictionary[T]{seed: maphash.MakeSeed()}
}

// Find returns what is known under key, nil when nothing is.
func (d *Dictionary[T]) Find(key []byte) *T {
	s := &d.shards[maphash.Bytes(d.seed, key)%shardCount]
	s.mu.RLock()
	found := s.young[string(key)]
	old := found == nil && len(s.old) > 0
	s.mu.RUnlock()
	if !old {
		return found
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if found = s.old[string(key)]; found != nil {
		s.add(string(key), found)
	}
	return found
}

// Add makes value known under a copy of key and returns it, or what somebody else has made known meanwhile.
func (d *Dictionary[T]) Add(key []byte, value *T) *T {
	s := &d.shards[maphash.Bytes(d.seed, key)%shardCount]
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.young[string(key)]; found != nil {
		return found
	}
	s.add(string(key), value)
	return value
}

// add puts an entry into the young generation. The caller holds mu.
func (s *shard[T]) add(key string, value *T) {
	cost := 2*len(key) + entryCost // the value holds most of the key again
	if s.size+cost > shardBudget && s.size > 0 {
		s.old, s.young, s.size = s.young, nil, 0
	}
	if s.young == nil {
		s.young = make(map[string]*T)
	}
	s.young[key] = value
	s.size += cost
}
