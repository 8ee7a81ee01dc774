package netflow

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
)

const (
	keepEvery = 10 * time.Second // what a kill costs at most
	maxState  = 1 << 30          // bytes of the file that is read
)

// savedWindows is the file that lets windows go on after a restart. A checksum follows it.
type savedWindows struct {
	At      time.Time
	Records uint64 // that there had been
	Windows []savedWindow
}

type savedWindow struct {
	Account   int64
	Label     string
	Begun     bool
	Mark      uint64
	Summaries []savedSummary
}

type savedSummary struct {
	Exporter   netip.Addr
	Direction  int
	Bytes      uint64
	Interfaces map[uint32]uint64
	IPs        map[onInterface[address]]uint64
	Protocols  map[onInterface[uint8]]uint64
	Pairs      map[pair]uint64
	Ports      map[uint16]uint64
}

// Start reads the file, and then keeps what windows hold in it, every ten seconds and after every
// window that was sent, until Stop. A damaged file is set aside, and windows begin anew.
func (b *Bot) Start(context.Context) error {
	if b.path == "" {
		return nil
	}
	if err := b.flows.load(b.path); err != nil {
		b.log.Warn("the windows of flows begin anew", "reason", err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	b.end = func() { close(stop); <-done }
	go func() {
		defer close(done)
		tick := time.NewTicker(keepEvery)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			case <-b.sent:
			}
			b.keep()
		}
	}()
	return nil
}

// Stop keeps what windows hold once more.
func (b *Bot) Stop(context.Context) error {
	if b.end == nil {
		return nil
	}
	b.end()
	return b.flows.save(b.path)
}

func (b *Bot) keep() {
	if err := b.flows.save(b.path); err != nil {
		b.log.Warn("after a restart the windows of flows would not go on", "reason", err)
	}
}

// save writes the file when something changed since it was written.
func (f *Flows) save(path string) error {
	saved := f.snapshot()
	if saved == nil {
		return nil
	}
	var text bytes.Buffer
	err := gob.NewEncoder(&text).Encode(saved)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = renameio.WriteFile(path, binary.BigEndian.AppendUint32(text.Bytes(), crc32.ChecksumIEEE(text.Bytes())), 0o600, renameio.WithTempDir(filepath.Dir(path)))
	}
	f.merging.Lock()
	defer f.merging.Unlock()
	if err != nil {
		f.changed = true
		return fmt.Errorf("cannot keep the windows of flows: %w", err)
	}
	f.kept = saved.Records
	return nil
}

// snapshot is what there is to keep; nil when nothing changed.
func (f *Flows) snapshot() *savedWindows {
	f.merging.Lock()
	defer f.merging.Unlock()
	records := f.mergeLocked()
	if records == f.kept && !f.changed {
		return nil
	}
	f.changed = false
	saved := &savedWindows{At: time.Now(), Records: records}
	for id, w := range f.windows {
		one := savedWindow{Account: id.account, Label: id.label, Begun: w.begun, Mark: w.mark}
		for at, of := range w.content {
			for direction := range of {
				s := &of[direction]
				if s.bytes == 0 {
					continue
				}
				one.Summaries = append(one.Summaries, savedSummary{
					at, direction, s.bytes, maps.Clone(s.interfaces.bytes), maps.Clone(s.ips.bytes),
					maps.Clone(s.protocols.bytes), maps.Clone(s.pairs.bytes), maps.Clone(s.ports.bytes),
				})
			}
		}
		saved.Windows = append(saved.Windows, one)
	}
	return saved
}

// load adds what is in the file to the windows.
func (f *Flows) load(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var text []byte
	if err == nil && info.Size() > maxState {
		err = fmt.Errorf("it has %d bytes, and at most %d are read", info.Size(), maxState)
	}
	if err == nil {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return fmt.Errorf("cannot read the windows of flows: %w", err)
	}
	saved, err := parseWindows(text)
	if err != nil {
		aside := path + ".damaged"
		if renamed := os.Rename(path, aside); renamed != nil {
			return fmt.Errorf("cannot read the windows of flows in %s: %w; cannot set them aside: %w", path, err, renamed)
		}
		return fmt.Errorf("cannot read the windows of flows in %s, which are now in %s: %w", path, aside, err)
	}
	f.restart(saved)
	return nil
}

// parseWindows reads what save wrote.
func parseWindows(text []byte) (*savedWindows, error) {
	end := len(text) - 4
	if end < 0 || crc32.ChecksumIEEE(text[:end]) != binary.BigEndian.Uint32(text[end:]) {
		return nil, errors.New("the checksum is wrong")
	}
	saved := new(savedWindows)
	if err := gob.NewDecoder(bytes.NewReader(text[:end])).Decode(saved); err != nil {
		return nil, err
	}
	for _, w := range saved.Windows {
		for _, s := range w.Summaries {
			if s.Direction != ingress && s.Direction != egress {
				return nil, fmt.Errorf("there is no direction %d", s.Direction)
			}
		}
	}
	return saved, nil
}

// restart lets windows go on where they were.
func (f *Flows) restart(saved *savedWindows) {
	f.merging.Lock()
	defer f.merging.Unlock()
	f.mu.Lock()
	f.records += saved.Records
	f.mu.Unlock()
	f.kept = saved.Records
	f.unseen = max(0, time.Since(saved.At))
	for _, from := range saved.Windows {
		id := windowID{from.Account, from.Label}
		w := f.windows[id]
		if w == nil {
			w = &window{content: make(content)}
			f.windows[id] = w
		}
		w.begun, w.mark = from.Begun, from.Mark
		for _, s := range from.Summaries {
			w.content.of(s.Exporter)[s.Direction].merge(&summary{
				bytes: s.Bytes, interfaces: table[uint32]{bytes: s.Interfaces}, ips: table[onInterface[address]]{bytes: s.IPs},
				protocols: table[onInterface[uint8]]{bytes: s.Protocols}, pairs: table[pair]{bytes: s.Pairs}, ports: table[uint16]{bytes: s.Ports},
			})
		}
	}
}
