package stream

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/minio/highwayhash"
	"github.com/nats-io/nats.go"
)

// Records of JetStream's block files: length (with a bit for "has headers"),
// sequence, time, length of the subject, subject, [length of the headers,
// headers,] data, checksum; numbers little-endian.
const (
	recordHead   = 22
	recordSum    = 8
	recordLimit  = 32 << 20
	withHeaders  = 1 << 31
	notMessage   = 3 << 62 // bits of the sequence: erased, or a mark of a deletion
	blockPattern = "*.blk"
)

// block is one file of messages.
type block struct {
	path  string
	index int
}

// blocks lists the files of a stream in order.
func blocks(path, stream string) ([]block, error) {
	names, err := filepath.Glob(filepath.Join(directory(path, stream), blockPattern))
	if err != nil {
		return nil, err
	}
	var all []block
	for _, name := range names {
		index, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(name), ".blk"))
		if err == nil {
			all = append(all, block{name, index})
		}
	}
	slices.SortFunc(all, func(a, b block) int { return a.index - b.index })
	return all, nil
}

// scan calls use with every intact record of a file and returns what is wrong
// with the rest, and whether that is only its end.
func (b block) scan(stream string, content []byte, use func(record []byte)) (damage []string, onlyEnd bool) {
	key := sha256.Sum256(fmt.Appendf(nil, "%s-%d", stream, b.index))
	hash, err := highwayhash.New64(key[:])
	if err != nil {
		return []string{err.Error()}, false
	}
	dash := strings.LastIndexByte(stream, '-')
	subject := []byte(stream[:dash] + "." + strings.TrimSuffix(stream[dash+1:], "s")) // how all of them begin; resynchronisation looks for it
	intact := func(at int) int {
		if len(content)-at < recordHead+recordSum {
			return 0
		}
		raw := content[at:]
		flagged := binary.LittleEndian.Uint32(raw)
		size, names := int(flagged&^withHeaders), int(binary.LittleEndian.Uint16(raw[20:]))
		skip := 0
		if flagged&withHeaders != 0 {
			skip = 4
		}
		if size > recordLimit || size > len(raw) || size < recordHead+names+skip+recordSum {
			return 0
		}
		hash.Reset()
		hash.Write(raw[4:20])
		hash.Write(raw[recordHead : recordHead+names])
		hash.Write(raw[recordHead+names+skip : size-recordSum])
		if !bytes.Equal(hash.Sum(nil), raw[size-recordSum:size]) {
			return 0
		}
		return size
	}
	for at := 0; at < len(content); {
		if size := intact(at); size > 0 {
			use(content[at : at+size])
			at += size
			continue
		}
		bad := at
		for at++; at < len(content) && intact(at) == 0; at++ {
			next := bytes.Index(content[min(at+recordHead, len(content)):], subject)
			if next < 0 {
				at = len(content)
				break
			}
			at += next
			if intact(at) > 0 {
				break
			}
		}
		at = min(at, len(content))
		damage = append(damage, fmt.Sprintf("%s: %d bytes at offset %d are damaged", filepath.Base(b.path), at-bad, bad))
		onlyEnd = len(damage) == 1 && at == len(content)
	}
	return damage, onlyEnd
}

// repair looks at every file before the server opens it. A file with damage is
// kept in the directory "quarantine", and its intact records stay in the stream.
// (The server itself would cut a file off at the first damage, or not notice that
// the last record is damaged.) An unfinished record at the end of the last file is
// what a kill leaves, and nobody was told that it is stored: it is cut off.
func (s *Stream) repair() error {
	for _, stream := range []string{s.cfg.Name + "-events", s.cfg.Name + "-positions"} {
		all, err := blocks(s.cfg.Path, stream)
		if err != nil {
			return fmt.Errorf("cannot list the stream's files: %w", err)
		}
		for i, b := range all {
			content, err := os.ReadFile(b.path)
			if err != nil {
				return fmt.Errorf("cannot read the stream's file: %w", err)
			}
			var good []byte
			damage, onlyEnd := b.scan(stream, content, func(r []byte) { good = append(good, r...) })
			if len(damage) == 0 {
				continue
			}
			kept := ""
			if !onlyEnd || i < len(all)-1 || !unfinished(content[len(good):]) {
				kept = filepath.Join(s.cfg.Path, "quarantine", fmt.Sprintf("%s-%d-%d.blk", stream, b.index, s.now().UnixNano()))
				s.lostPositions = s.lostPositions || stream != s.cfg.Name+"-events"
			}
			if err := replace(b.path, kept, content, good); err != nil {
				return fmt.Errorf("cannot set a damaged file of the stream aside: %w", err)
			}
			if kept != "" {
				s.log.Error("stream: a file is damaged; what is intact stays, the file is kept", "damage", strings.Join(damage, "; "), "kept", kept)
			}
		}
	}
	return nil
}

// unfinished reports whether b is the beginning of a record.
func unfinished(b []byte) bool {
	return len(b) < recordHead || int(binary.LittleEndian.Uint32(b)&^withHeaders) > len(b)
}

// replace keeps content in kept, unless that is "", and makes good the content of path.
func replace(path, kept string, content, good []byte) error {
	if kept != "" {
		if err := os.MkdirAll(filepath.Dir(kept), 0o750); err != nil {
			return err
		}
		if err := os.WriteFile(kept, content, 0o640); err != nil {
			return err
		}
	}
	if err := os.WriteFile(path+".repaired", good, 0o640); err != nil {
		return err
	}
	if err := os.Rename(path+".repaired", path); err != nil {
		return err
	}
	// What the server remembers of its files is wrong now: it makes it anew.
	if err := os.Remove(filepath.Join(filepath.Dir(path), "index.db")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// parse reads a record of the events' stream; ok is false for those that are no message.
func parse(record []byte) (m message, ok bool, err error) {
	flagged := binary.LittleEndian.Uint32(record)
	m.sequence = binary.LittleEndian.Uint64(record[4:])
	body := record[recordHead+int(binary.LittleEndian.Uint16(record[20:])) : len(record)-recordSum]
	if m.sequence == 0 || m.sequence&notMessage != 0 {
		return m, false, nil
	}
	if flagged&withHeaders == 0 || len(body) < 4 {
		return m, true, fmt.Errorf("message %d has no header", m.sequence)
	}
	size := int(binary.LittleEndian.Uint32(body))
	if size > len(body)-4 {
		return m, true, fmt.Errorf("the header of message %d has %d bytes, %d are left", m.sequence, size, len(body)-4)
	}
	header, err := nats.DecodeHeadersMsg(body[4 : 4+size])
	if err != nil {
		return m, true, fmt.Errorf("the header of message %d: %w", m.sequence, err)
	}
	m.data = body[4+size:]
	return m, true, m.header(header)
}
