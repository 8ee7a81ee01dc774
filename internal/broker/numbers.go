package broker

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/weirhq/weir/internal/event"
)

// numbers are the indexes and metrics given numbers so far, kept in a file that
// only grows: frames of IndexMapping events, one for each index, and Metric
// events, one for each metric with its label and service.
type numbers struct {
	appended
	path    string
	last    struct{ index, metric uint64 }
	indexes map[pair]*index
	labels  map[string]string // each kept once: most services have the same few
}

type index struct {
	id        uint64
	announced bool
	metrics   []*numbered
	byLabel   map[string]*numbered // when there are many
}

type numbered struct {
	label     string
	id        uint64
	announced bool
}

// many is the number of metrics of an index beyond which a map finds them.
const many = 16

func openNumbers(path string, log *slog.Logger) (*numbers, error) {
	n := &numbers{path: path, indexes: map[pair]*index{}, labels: map[string]string{}}
	n.changes.w = &n.buffer
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot open the numbers of indexes and metrics: %w", err)
	}
	l, err := readFrames(file, n.load)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("cannot read the numbers of indexes and metrics in %s: %w", path, err)
	}
	n.file, n.size = file, l.Bytes
	if l.Lost > 0 {
		// A number takes at least a byte, so no more numbers were lost than bytes.
		n.last.index += uint64(l.Lost)
		n.last.metric += uint64(l.Lost)
		log.Error("The file of index and metric numbers is damaged; what was lost gets new numbers",
			"file", path, "damaged_bytes", l.Lost, "offset", l.Offset, "numbers_read", l.Events)
	}
	return n, nil
}

// load takes in one record of the file.
func (n *numbers) load(e event.Event) {
	r, err := event.Decode(e)
	if err != nil {
		return
	}
	number := func(name string) uint64 { return uint64(r.Get(name).Int()) }
	of := pair{number("host_id"), number("service_id")}
	switch e.Type {
	case pbIndexMapping:
		id := number("index_id")
		n.last.index = max(n.last.index, id)
		if n.indexes[of] == nil {
			n.indexes[of] = &index{id: id}
		}
	case pbMetric:
		id := number("metric_id")
		n.last.metric = max(n.last.metric, id)
		if x := n.indexes[of]; x != nil && x.find(r.Get("name").Text()) == nil {
			x.add(&numbered{label: n.intern(r.Get("name").Text()), id: id})
		}
	}
}

func (n *numbers) intern(label []byte) string {
	if s, ok := n.labels[string(label)]; ok {
		return s
	}
	s := string(label)
	n.labels[s] = s
	return s
}

// index returns the index of a service, giving it a number at first sight.
func (n *numbers) index(of pair) *index {
	x := n.indexes[of]
	if x == nil {
		n.last.index++
		x = &index{id: n.last.index}
		n.indexes[of] = x
		n.changes.add(indexMapping(x.id, of).Encode())
	}
	return x
}

// metric returns a metric of an index, giving it a number at first sight.
func (n *numbers) metric(of pair, x *index, label []byte) *numbered {
	m := x.find(label)
	if m == nil {
		n.last.metric++
		m = &numbered{label: n.intern(label), id: n.last.metric}
		x.add(m)
		n.changes.add(newRecord(pbMetric, "metric_id", m.id, "name", m.label, "host_id", of.host, "service_id", of.service).Encode())
	}
	return m
}

func (x *index) find(label []byte) *numbered {
	if x.byLabel != nil {
		return x.byLabel[string(label)]
	}
	for _, m := range x.metrics {
		if m.label == string(label) {
			return m
		}
	}
	return nil
}

func (x *index) add(m *numbered) {
	x.metrics = append(x.metrics, m)
	switch {
	case x.byLabel != nil:
		x.byLabel[m.label] = m
	case len(x.metrics) > many:
		x.byLabel = make(map[string]*numbered, 2*many)
		for _, m := range x.metrics {
			x.byLabel[m.label] = m
		}
	}
}

func (n *numbers) flush() error {
	if err := n.appended.flush(); err != nil {
		return fmt.Errorf("cannot write the numbers of indexes and metrics: %w", err)
	}
	return nil
}

func (n *numbers) close() error { return n.file.Close() }
