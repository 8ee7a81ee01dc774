package broker

import "github.com/weirhq/weir/internal/event"

// front finds services faster than their map does: a status of one is what comes most.
// It is a table of those that were found last, each at one of two neighbouring places;
// what is not there is in the map. A service that is gone has the id nobody.
type front []*object

var nobody = pair{^uint64(0), ^uint64(0)}

func (f front) place(id pair) uint64 {
	h := (id.host*0x9e3779b97f4a7c15 + id.service) * 0xbf58476d1ce4e5b9
	return (h ^ h>>32) & uint64(len(f)-1)
}

// service returns a service, nil when it is not known.
func (c *Cache) service(id pair) *object {
	if len(c.front) > 0 {
		i := c.front.place(id)
		if o := c.front[i]; o != nil && o.id == id {
			return o
		}
		if o := c.front[i^1]; o != nil && o.id == id {
			return o
		}
	}
	return c.find(id)
}

// find takes a service from the map and remembers it.
func (c *Cache) find(id pair) *object {
	o := c.services[id]
	if o == nil {
		return nil
	}
	if 2*len(c.services) > len(c.front) {
		size := 1024
		for size < 4*len(c.services) {
			size *= 2
		}
		c.front = make(front, size)
	}
	i := c.front.place(id)
	if c.front[i] != nil && c.front[i^1] == nil {
		i ^= 1
	}
	c.front[i] = o
	return o
}

// Expect says that a batch is about to be given to Update event by event. It looks at what the statuses among the first
// events of it will write to, all of them at once: in a large installation each is in
// memory that the processor has to wait for, and waiting for many together takes little longer than for one.
func (c *Cache) Expect(batch []byte, events int) {
	if len(c.front) == 0 {
		return
	}
	c.expected, c.taken = c.expected[:0], 0
	it := event.NewIterator(batch)
	for ; events > 0 && it.Next(); events-- {
		if e := &it.Event; e.Type == pbServiceStatus || e.Type == legacyServiceStatus {
			c.expected = append(c.expected, c.front[c.front.place(serviceOf(e))])
		}
	}
	seen := 0
	for _, o := range c.expected {
		if o != nil {
			seen += len(o.status)
		}
	}
	for _, o := range c.expected {
		if o != nil {
			for at := 0; at < len(o.status); at += cacheLine {
				seen += int(o.status[at])
			}
		}
	}
	c.seen = seen
}

// nextService is service for the next status that Expect has seen, if it has.
func (c *Cache) nextService(id pair) *object {
	if c.taken < len(c.expected) {
		o := c.expected[c.taken]
		c.taken++
		if o != nil && o.id == id {
			return o
		}
	}
	return c.service(id)
}

// cacheLine is how many bytes a processor fetches at once.
const cacheLine = 64
