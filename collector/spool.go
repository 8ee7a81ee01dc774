package collector

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// spool keeps values in files of a directory, oldest first. A line of a file is a
// batch: {"account":7,"values":[{"p","t","v"},...]}. A file is removed when all of it is
// delivered; delivered twice, values are stored once, because they have times. What was added survives
// the death of the process. The methods of a nil spool do nothing.
type spool struct {
	dir    string
	max    int64
	log    *slog.Logger
	filled chan struct{} // has something in it while there are parts

	mu      sync.Mutex
	parts   []*part  // oldest first; the last one is written to while writer is not nil
	writer  *os.File // of the last part
	number  int64    // of the last part
	bytes   int64
	values  int64
	dropped int64
}

// part is one file.
type part struct {
	path    string
	bytes   int64
	values  int64
	removed bool
	log     *slog.Logger
}

// batchJSON is a line of a part.
type batchJSON struct {
	Account int64       `json:"account"`
	Values  []valueJSON `json:"values"`
}

// A part has maxPart bytes, or as much less as makes minParts in a small spool.
const (
	maxPart  = 1 << 20
	minParts = 8
)

const partName = ".values"

func openSpool(dir string, most int64, log *slog.Logger) (*spool, error) {
	s := &spool{dir: dir, max: most, log: log, filled: make(chan struct{}, 1)}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the spool: %w", err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot read the spool: %w", err)
	}
	for _, file := range files { // sorted by name
		number, err := strconv.ParseInt(strings.TrimSuffix(file.Name(), partName), 10, 64)
		if err != nil || !strings.HasSuffix(file.Name(), partName) {
			continue
		}
		p := &part{path: filepath.Join(dir, file.Name()), log: log}
		for _, values := range p.read {
			p.values += int64(len(values))
		}
		if info, err := file.Info(); err == nil {
			p.bytes = info.Size()
		}
		s.parts, s.number = append(s.parts, p), number
		s.bytes, s.values = s.bytes+p.bytes, s.values+p.values
	}
	if len(s.parts) > 0 {
		s.filled <- struct{}{}
	}
	return s, nil
}

// read yields what the part holds, account by account. A line that is damaged, such as
// one that the process died in, is logged and left out.
func (p *part) read(yield func(int64, []valueJSON) bool) {
	data, err := os.ReadFile(p.path)
	if err != nil {
		p.log.Error("cannot read a part of the spool", "error", err)
		return
	}
	values := make(map[int64][]valueJSON)
	var accounts []int64
	for line := range bytes.Lines(data) {
		var b batchJSON
		if err := json.Unmarshal(line, &b); err != nil {
			p.log.Error("a line of the spool is damaged and left out", "file", p.path, "bytes", len(line), "error", err)
			continue
		}
		if values[b.Account] == nil {
			accounts = append(accounts, b.Account)
		}
		values[b.Account] = append(values[b.Account], b.Values...)
	}
	for _, account := range accounts {
		if !yield(account, values[account]) {
			return
		}
	}
}

var _ iter.Seq2[int64, []valueJSON] = (*part)(nil).read

// add appends a batch, in place of the oldest parts when the spool is full.
func (s *spool) add(account int64, values []valueJSON) error {
	line, err := json.Marshal(batchJSON{account, values})
	if err != nil {
		return fmt.Errorf("cannot put values in the spool: %w", err)
	}
	line = append(line, '\n')
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.bytes+int64(len(line)) > s.max && len(s.parts) > 0 {
		oldest := s.parts[0]
		s.log.Error("the spool is full; its oldest values are dropped", "values", oldest.values, "max_bytes", s.max)
		s.dropped += oldest.values
		s.forget(oldest)
	}
	if err := s.write(line); err != nil {
		return fmt.Errorf("cannot put values in the spool: %w", err)
	}
	p := s.parts[len(s.parts)-1]
	p.bytes, p.values = p.bytes+int64(len(line)), p.values+int64(len(values))
	s.bytes, s.values = s.bytes+int64(len(line)), s.values+int64(len(values))
	select {
	case s.filled <- struct{}{}:
	default:
	}
	return nil
}

// write appends a line to the last part, or to a new one.
func (s *spool) write(line []byte) error {
	if s.writer != nil && s.parts[len(s.parts)-1].bytes+int64(len(line)) > min(maxPart, s.max/minParts) {
		s.seal()
	}
	if s.writer == nil {
		path := filepath.Join(s.dir, fmt.Sprintf("%012d%s", s.number+1, partName))
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		s.number++
		s.writer, s.parts = f, append(s.parts, &part{path: path, log: s.log})
	}
	if _, err := s.writer.Write(line); err != nil {
		s.seal() // what is half there is left out when it is read
		return err
	}
	return nil
}

// seal ends the last part.
func (s *spool) seal() {
	if s.writer != nil {
		if err := s.writer.Close(); err != nil {
			s.log.Error("cannot close a part of the spool", "error", err)
		}
		s.writer = nil
	}
}

// oldest is the part to deliver next, nil when there is none. Nothing is added to it any more.
func (s *spool) oldest() *part {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.parts) == 0 {
		return nil
	}
	if len(s.parts) == 1 {
		s.seal()
	}
	return s.parts[0]
}

// remove takes a part away that was delivered. It reports false when it was dropped meanwhile.
func (s *spool) remove(p *part) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.removed {
		return false
	}
	s.forget(p)
	return true
}

func (s *spool) forget(p *part) {
	if s.parts[len(s.parts)-1] == p {
		s.seal()
	}
	if err := os.Remove(p.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.log.Error("cannot remove a part of the spool", "error", err)
	}
	p.removed = true
	s.parts = slices.DeleteFunc(s.parts, func(other *part) bool { return other == p })
	s.bytes, s.values = s.bytes-p.bytes, s.values-p.values
}

// waiting is how many values there are.
func (s *spool) waiting() int64 {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values
}

// lost is how many values were dropped.
func (s *spool) lost() int64 {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropped
}

func (s *spool) close() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seal()
	return nil
}
