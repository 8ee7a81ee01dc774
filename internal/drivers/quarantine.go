package drivers

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/weirhq/weir/timeseries"
)

// quarantineBytes is the size from which the file of rejected points becomes
// FILE.old, in the place of the one before: a store that rejects everything must not fill the disk.
const quarantineBytes = 32 << 20

// quarantine is a file of points that the store rejected, one JSON object on each line, with the
// reason. It is used by one goroutine.
type quarantine struct {
	path string
	file *os.File // nil until something is written
	size int64
}

func newQuarantine(dir string) *quarantine {
	return &quarantine{path: filepath.Join(dir, "rejected.jsonl")}
}

// points writes points down.
func (q *quarantine) points(points []timeseries.Point, reason string) error {
	var lines []byte
	for i := range points {
		p := &points[i]
		line := struct {
			Reason string             `json:"reason"`
			At     time.Time          `json:"at"` // when it was rejected
			Schema string             `json:"schema"`
			Time   int64              `json:"time"`
			Tags   map[string]string  `json:"tags"`
			Values map[string]float64 `json:"values"`
		}{reason, time.Now().UTC(), p.Schema.Name, p.Time, make(map[string]string), make(map[string]float64)}
		for i, name := range p.Schema.Tags {
			line.Tags[name] = p.Tags[i]
		}
		for i, name := range p.Schema.Metrics {
			if !math.IsNaN(p.Values[i]) { // JSON has none
				line.Values[name] = p.Values[i]
			}
		}
		text, err := json.Marshal(line)
		if err != nil {
			return err
		}
		lines = append(append(lines, text...), '\n')
	}
	return q.write(lines)
}

// keep writes down a record that cannot be read, as text of JSON that holds its bytes in base64.
func (q *quarantine) keep(record []byte) error {
	text, err := json.Marshal(struct {
		Reason string    `json:"reason"`
		At     time.Time `json:"at"`
		Record []byte    `json:"record"`
	}{"the record cannot be read", time.Now().UTC(), record})
	if err != nil {
		return err
	}
	return q.write(append(text, '\n'))
}

func (q *quarantine) write(lines []byte) error {
	if q.file != nil && q.size > 0 && q.size+int64(len(lines)) > quarantineBytes {
		if err := q.close(); err != nil {
			return err
		}
		if err := os.Rename(q.path, q.path+".old"); err != nil {
			return err
		}
	}
	if q.file == nil {
		f, err := os.OpenFile(q.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
		if err != nil {
			return err
		}
		info, err := f.Stat()
		if err != nil {
			_ = f.Close() // nothing was written
			return err
		}
		q.file, q.size = f, info.Size()
	}
	n, err := q.file.Write(lines)
	q.size += int64(n)
	return err
}

func (q *quarantine) close() error {
	if q.file == nil {
		return nil
	}
	f := q.file
	q.file = nil
	return f.Close()
}
