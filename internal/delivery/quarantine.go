package delivery

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"
)

// quarantineBytes is the size from which the file of rejected items becomes
// FILE.old, in the place of the one before: a server that rejects everything must not fill the disk.
const quarantineBytes = 32 << 20

// quarantine is a file of items that the server rejected, one JSON object on each line, with the
// reason. It is used by one goroutine.
type quarantine struct {
	path string
	file *os.File // nil until something is written
	size int64
}

func newQuarantine(dir string) *quarantine {
	return &quarantine{path: filepath.Join(dir, "rejected.jsonl")}
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
