package broker

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/weirhq/weir/internal/event"
)

// Save writes everything the cache holds as a stream that [Cache.Load] reads, in
// the order of 6.4. It is deterministic.
func (c *Cache) Save(w io.Writer) error {
	f := &frameWriter{w: w}
	for _, id := range sorted(c.instances) {
		f.add(newRecord(pbInstance, "instance_id", id, "name", c.instances[id], "running", true).Encode())
	}
	for _, id := range sorted(c.hosts) {
		c.hosts[id].save(f, c.ofHosts.get(pair{host: id}), hostKind)
	}
	for _, id := range sorted(c.hostGroups) {
		g := c.hostGroups[id]
		for _, poller := range g.pollers {
			f.add(newRecord(pbHostGroup, "hostgroup_id", id, "enabled", true, "name", g.name, "alias", g.alias, "poller_id", poller).Encode())
		}
	}
	for _, of := range sortedPairs(c.hostMembers) {
		for _, g := range c.hostMembers[of] {
			f.add(newRecord(pbHostGroupMember, "host_id", of.host, "hostgroup_id", g.ID, "enabled", true, "name", g.Name).Encode())
		}
	}
	for _, id := range sortedPairs(c.services) {
		c.services[id].save(f, c.ofServices.get(id), serviceKind)
	}
	for _, id := range sorted(c.serviceGroups) {
		g := c.serviceGroups[id]
		for _, poller := range g.pollers {
			f.add(newRecord(pbServiceGroup, "servicegroup_id", id, "enabled", true, "name", g.name, "poller_id", poller).Encode())
		}
	}
	for _, of := range sortedPairs(c.memberships) {
		for _, g := range c.memberships[of] {
			f.add(newRecord(pbServiceGroupMember, "host_id", of.host, "service_id", of.service, "servicegroup_id", g.ID, "enabled", true, "name", g.Name).Encode())
		}
	}
	for _, id := range sorted(c.indexes) {
		f.add(indexMapping(id, c.indexes[id]).Encode())
	}
	for _, id := range sorted(c.metrics) {
		f.add(metricMapping(id, c.metrics[id]).Encode())
	}
	for _, id := range sorted(c.bas) {
		f.add(c.bas[id])
	}
	for _, ba := range sorted(c.relations) {
		for _, bv := range c.relations[ba] {
			f.add(newRecord(pbBABV, "ba_id", ba, "bv_id", bv).Encode())
		}
	}
	for _, id := range sorted(c.bvs) {
		f.add(c.bvs[id])
	}
	for _, of := range sortedPairs(c.severities) {
		f.add(newRecord(pbCustomVariable, "host_id", of.host, "service_id", of.service, "enabled", true,
			"name", "CRITICALITY_LEVEL", "value", fmt.Sprint(c.severities[of])).Encode())
	}
	if err := f.flush(); err != nil {
		return fmt.Errorf("cannot save the broker cache: %w", err)
	}
	return nil
}

// save writes the events that lead to the object's state.
func (o *object) save(f *frameWriter, last event.Event, k *kind) {
	add := func(t event.Type, payload []byte) {
		if len(payload) > 0 {
			f.add(event.Event{Type: t, Source: o.source, Payload: payload})
		}
	}
	add(o.configType, o.config)
	if o.more == nil {
		add(last.Type, last.Payload)
		return
	}
	if !o.more.scheduled {
		add(k.settings, o.more.settings)
	}
	add(last.Type, last.Payload)
	add(k.adaptiveStatus, o.more.status)
	if o.more.scheduled {
		add(k.settings, o.more.settings)
	}
}

func sorted[V any](m map[uint64]V) []uint64 { return slices.Sorted(maps.Keys(m)) }

func sortedPairs[V any](m map[pair]V) []pair { return slices.SortedFunc(maps.Keys(m), pair.compare) }

func (p pair) compare(q pair) int {
	switch {
	case p.host < q.host || p.host == q.host && p.service < q.service:
		return -1
	case p == q:
		return 0
	}
	return 1
}

// Load applies a stream written by Save. Damaged parts are passed over, the rest
// is used; the error is one of reading r.
func (c *Cache) Load(r io.Reader) (Loaded, error) {
	l, err := readFrames(r, c.Update)
	if err != nil {
		return l, fmt.Errorf("cannot load the broker cache: %w", err)
	}
	return l, nil
}

// File keeps a Cache on disk (6.4). Changes of configuration are appended by
// Flush, which the script's host calls before it acknowledges the events they came
// with; statuses are written by Save, when the script stops. A process that is
// killed loses no configuration, and finds statuses as of the last Save.
type File struct {
	path  string
	cache *Cache
	log   *slog.Logger
	appended
	saved int64 // size after the last Save
}

// appended is a file of frames that grows at its end.
type appended struct {
	file    *os.File
	size    int64 // of the part that is known to be good
	changes frameWriter
	buffer  bytes.Buffer // what changes writes to
}

// flush makes what was added to changes durable. After an error it is kept, and
// the next call tries again.
func (a *appended) flush() error {
	if err := a.changes.flush(); err != nil {
		return err
	}
	if a.buffer.Len() == 0 {
		return nil
	}
	_, err := a.file.Write(a.buffer.Bytes())
	if err == nil {
		err = a.file.Sync()
	}
	if err != nil {
		a.file.Truncate(a.size) // if that fails too, readers pass over the damage
		return err
	}
	a.size += int64(a.buffer.Len())
	a.buffer.Reset()
	return nil
}

// drop forgets what was added since the last flush.
func (a *appended) drop() {
	a.changes.batch = a.changes.batch[:0]
	a.buffer.Reset()
}

// OpenFile loads the cache at path into c, which should be empty, and keeps c's
// later changes there. A missing file is an empty one. Damaged parts are logged
// and passed over, and the damaged file is kept beside as path.damaged.
func OpenFile(path string, c *Cache, log *slog.Logger) (*File, error) {
	f := &File{path: path, cache: c, log: log}
	if err := f.load(); err != nil {
		return nil, err
	}
	f.changes.w = &f.buffer
	c.journal = &f.changes
	return f, nil
}

func (f *File) load() error {
	file, err := os.OpenFile(f.path, os.O_RDWR|os.O_APPEND, 0)
	if errors.Is(err, os.ErrNotExist) {
		return f.save()
	}
	if err != nil {
		return fmt.Errorf("cannot open the broker cache: %w", err)
	}
	l, err := f.cache.Load(file)
	if err != nil {
		file.Close()
		return fmt.Errorf("file %s: %w", f.path, err)
	}
	if l.Lost == 0 {
		f.file, f.size, f.saved = file, l.Bytes, l.Bytes
		return nil
	}
	file.Close()
	f.log.Error("The broker cache is damaged; the rest is used, and the file is kept",
		"file", f.path, "kept", damaged(f.path), "damaged_bytes", l.Lost, "offset", l.Offset, "events_read", l.Events)
	if err := keepDamaged(f.path); err != nil {
		return fmt.Errorf("cannot keep the damaged broker cache: %w", err)
	}
	return f.save()
}

// Refresh loads the file again when another process has changed it since it was opened. It is for a
// process that opened it beside another one, and takes over from that one when it has closed the file.
func (f *File) Refresh() error {
	now, err := os.Stat(f.path)
	if errors.Is(err, os.ErrNotExist) {
		return f.Save()
	}
	opened, failed := f.file.Stat()
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("cannot look at the broker cache: %w", err)
	}
	if os.SameFile(now, opened) && now.Size() == f.size {
		return nil
	}
	fresh := NewCache(f.log)
	other, err := OpenFile(f.path, fresh, f.log)
	if err != nil {
		return err
	}
	f.file.Close()
	f.drop()
	f.file, f.size, f.saved = other.file, other.size, other.saved
	fresh.follow(f.cache)
	*f.cache = *fresh // in place: others hold the pointer
	f.cache.journal = &f.changes
	return nil
}

// follow makes a cache that was just loaded go on as the one it takes the place of.
func (c *Cache) follow(before *Cache) {
	c.version = max(c.version, before.version) + 1
	c.counts, c.rounds, c.round = before.counts, before.rounds, before.round
	if !before.tracks {
		return
	}
	for id := range before.hosts { // some may be gone
		c.hostIDs = append(c.hostIDs, id)
	}
	for id := range before.services {
		c.pairs = append(c.pairs, id)
	}
	c.TrackNames()
}

func damaged(path string) string { return path + ".damaged" }

// keepDamaged gives the file a second name that saving does not replace.
func keepDamaged(path string) error {
	if err := os.Remove(damaged(path)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Link(path, damaged(path))
}

// Flush makes the changes of configuration since the last call durable. It costs
// nothing when there are none. After an error the changes are kept, and the next
// call tries again.
func (f *File) Flush() error {
	if f.size > 2*f.saved+8<<20 { // mostly changes by now
		return f.Save()
	}
	if err := f.flush(); err != nil {
		return fmt.Errorf("cannot append to the broker cache: %w", err)
	}
	return nil
}

// Save replaces the file by one that holds the cache as it is now, statuses
// included.
func (f *File) Save() error {
	if err := f.save(); err != nil {
		return err
	}
	f.drop()
	return nil
}

func (f *File) save() (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot write the broker cache: %w", err)
		}
	}()
	directory := filepath.Dir(f.path)
	file, err := os.CreateTemp(directory, filepath.Base(f.path)+".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			file.Close()
			os.Remove(file.Name())
		}
	}()
	w := bufio.NewWriterSize(file, 256<<10)
	if err := f.cache.Save(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	size, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if err := os.Rename(file.Name(), f.path); err != nil {
		return err
	}
	if err := syncDirectory(directory); err != nil {
		return err
	}
	if f.file != nil {
		f.file.Close()
	}
	f.file, f.size, f.saved = file, size, size
	return nil
}

func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Close saves the cache and closes the file. The cache stays usable.
func (f *File) Close() error {
	f.cache.journal = nil
	return errors.Join(f.Save(), f.file.Close())
}
