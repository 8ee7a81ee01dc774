package script

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Quarantine keeps the items that ended their script and were set aside, in a
// file with a JSON object a line. An item is known by its number and its bytes,
// so that it stays aside when it is fed again after a restart of the daemon.
// Its methods may be called from any goroutine.
type Quarantine struct {
	path string

	mu    sync.Mutex
	file  *os.File
	known map[uint64]uint64 // number -> hash of the payload
	bad   int
	torn  bool // the file may end within a line
}

// Quarantined is a line of the file.
type Quarantined struct {
	Time    time.Time `json:"time"`
	Script  string    `json:"script"`
	Number  uint64    `json:"number"`
	Reason  string    `json:"reason"`
	Text    string    `json:"text,omitempty"` // the item for people, as far as the contract has such a form
	Payload []byte    `json:"payload"`        // base64
}

// NewQuarantine returns the quarantine in the file at path. Nothing is opened before Open.
func NewQuarantine(path string) *Quarantine {
	return &Quarantine{path: path, known: make(map[uint64]uint64)}
}

// Open reads what is there and makes the file when it is missing. Lines that
// cannot be read are left where they are and counted.
func (q *Quarantine) Open() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := os.MkdirAll(filepath.Dir(q.path), 0o750); err != nil {
		return fmt.Errorf("cannot make the folder of the quarantine: %w", err)
	}
	file, err := os.OpenFile(q.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("cannot open the quarantine: %w", err)
	}
	for r := bufio.NewReader(file); ; {
		line, err := r.ReadBytes('\n')
		if len(line) > 0 {
			var item Quarantined
			if json.Unmarshal(line, &item) == nil {
				q.known[item.Number] = xxhash.Sum64(item.Payload)
			} else {
				q.bad++
			}
			q.torn = line[len(line)-1] != '\n'
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			file.Close()
			return fmt.Errorf("cannot read the quarantine: %w", err)
		}
	}
	q.file = file
	return nil
}

// Add sets an item aside. When it returns nil the item is on disk, and may be
// counted as dealt with.
func (q *Quarantine) Add(item Quarantined) error {
	line, err := json.Marshal(item)
	if err != nil {
		return fmt.Errorf("cannot set item %d aside: %w", item.Number, err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.torn {
		line = append([]byte{'\n'}, line...)
	}
	if _, err = q.file.Write(append(line, '\n')); err == nil {
		err = q.file.Sync()
	}
	q.torn = err != nil
	if err != nil {
		return fmt.Errorf("cannot set item %d aside: %w", item.Number, err)
	}
	q.known[item.Number] = xxhash.Sum64(item.Payload)
	return nil
}

// Has reports whether an item was set aside.
func (q *Quarantine) Has(number uint64, payload []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	hash, ok := q.known[number]
	return ok && hash == xxhash.Sum64(payload)
}

// Touches reports whether an item with a number from first through last may have been
// set aside, so that most need not be looked at one by one.
func (q *Quarantine) Touches(first, last uint64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for number := range q.known {
		if first <= number && number <= last {
			return true
		}
	}
	return false
}

// Count is how many items are aside, and how many lines of the file say nothing.
func (q *Quarantine) Count() (items, bad int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.known), q.bad
}

// Close closes the file.
func (q *Quarantine) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.file.Close()
}
