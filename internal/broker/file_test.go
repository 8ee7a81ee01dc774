package broker

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/event"
)

// everything fills a cache with something of each kind.
func everything(t testing.TB, c *Cache) {
	update(t, c, pbInstance, "instance_id", 3, "name", "Lyon", "running", true)
	update(t, c, legacyHost, "host_id", 1, "name", "h1", "enabled", true, "address", "10.0.0.1")
	update(t, c, pbHost, "host_id", 2, "name", "h2", "enabled", true, "check_command", "ping", "should_be_scheduled", true)
	update(t, c, pbAdaptiveHost, "host_id", 2, "check_command", "ping6", "should_be_scheduled", false)
	update(t, c, pbHostStatus, "host_id", 2, "state", 1, "should_be_scheduled", true)
	update(t, c, pbAdaptiveHostStatus, "host_id", 2, "scheduled_downtime_depth", 1)
	update(t, c, pbHostGroup, "hostgroup_id", 5, "name", "Linux", "alias", "Linux servers", "enabled", true, "poller_id", 1)
	update(t, c, legacyHostGroup, "hostgroup_id", 5, "name", "Linux", "enabled", true, "poller_id", 2)
	update(t, c, legacyHostGroupMember, "hostgroup_id", 5, "host_id", 1, "enabled", true, "group_name", "Linux")
	update(t, c, legacyService, "host_id", 1, "service_id", 7, "description", "s7", "enabled", true)
	update(t, c, legacyServiceStatus, "host_id", 1, "service_id", 7, "state", 2, "output", "bad\nvery")
	update(t, c, pbService, "host_id", 1, "service_id", 8, "description", "s8", "enabled", true, "active_checks", true)
	update(t, c, pbServiceStatus, "host_id", 1, "service_id", 8, "should_be_scheduled", true)
	update(t, c, pbAdaptiveService, "host_id", 1, "service_id", 8, "should_be_scheduled", false, "active_checks", false)
	update(t, c, pbServiceGroup, "servicegroup_id", 6, "name", "Disks", "enabled", true, "poller_id", 1)
	update(t, c, pbServiceGroupMember, "servicegroup_id", 6, "host_id", 1, "service_id", 7, "enabled", true, "name", "Disks")
	update(t, c, pbIndexMapping, "index_id", 40, "host_id", 1, "service_id", 7)
	update(t, c, legacyMetricMapping, "index_id", 40, "metric_id", 77)
	update(t, c, legacyBA, "ba_id", 1, "ba_name", "Shop")
	update(t, c, pbBABV, "ba_id", 1, "bv_id", 8)
	update(t, c, pbBV, "bv_id", 8, "bv_name", "Sales")
	update(t, c, pbCustomVariable, "host_id", 1, "service_id", 7, "name", "CRITICALITY_LEVEL", "value", "3", "enabled", true)
}

func saved(t testing.TB, c *Cache) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := c.Save(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSaveAndLoad(t *testing.T) {
	first := newCache(t)
	everything(t, first)
	stream := saved(t, first)
	c := newCache(t)
	l, err := c.Load(iotest.OneByteReader(bytes.NewReader(stream)))
	if err != nil || l.Lost != 0 || l.Bytes != int64(len(stream)) || l.Events != 22 {
		t.Fatalf("%+v, %v", l, err)
	}
	if !bytes.Equal(stream, saved(t, c)) {
		t.Error("what was loaded is saved as something else")
	}
	if diff := cmp.Diff(first.Stats(), c.Stats()); diff != "" {
		t.Errorf("figures (-want +got):\n%s", diff)
	}
	want(t, c.Host(1), "name", "h1", "address", "10.0.0.1")
	want(t, c.Host(2), "state", 1, "check_command", "ping6", "scheduled_downtime_depth", 1, "should_be_scheduled", true)
	want(t, c.Service(1, 7), "state", 2, "output", "bad", "long_output", "very")
	want(t, c.Service(1, 8), "should_be_scheduled", false, "active_checks", false)
	if alias, _ := c.HostGroupAlias(5); alias != "Linux servers" {
		t.Errorf("alias %q", alias)
	}
	if level, _ := c.Severity(1, 7); level != 3 {
		t.Errorf("severity %d", level)
	}
	if diff := cmp.Diff([]Group{{6, "Disks"}}, c.ServiceGroups(1, 7)); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
	want(t, c.BA(1), "ba_name", "Shop")
	// Both pollers of the group came back.
	update(t, c, pbHostGroup, "hostgroup_id", 5, "enabled", false, "poller_id", 1)
	if name, ok := c.HostGroupName(5); !ok || name != "Linux" {
		t.Errorf("group %q, %v", name, ok)
	}
}

func TestLoadErrors(t *testing.T) {
	c := newCache(t)
	_, err := c.Load(io.MultiReader(bytes.NewReader([]byte(frameMagic)), iotest.ErrReader(os.ErrPermission)))
	if err == nil || !strings.Contains(err.Error(), "cannot load the broker cache: permission denied") {
		t.Errorf("error %v", err)
	}
}

// frames writes one frame for each event.
func frames(t testing.TB, events ...event.Event) []byte {
	var b bytes.Buffer
	f := frameWriter{w: &b}
	for _, e := range events {
		f.add(e)
		if err := f.flush(); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// Whatever is cut off or overwritten, everything else is loaded.
func TestDamagedStream(t *testing.T) {
	var events []event.Event
	for i := range 5 {
		events = append(events, makeEvent(t, pbHost, "host_id", i+1, "name", strings.Repeat("n", i+1), "enabled", true))
	}
	whole := frames(t, events...)
	starts := []int{0}
	for i := range events {
		starts = append(starts, starts[i]+len(frames(t, events[i])))
	}
	load := func(stream []byte) (*Cache, Loaded) {
		t.Helper()
		c := newCache(t)
		l, err := c.Load(bytes.NewReader(stream))
		if err != nil {
			t.Fatal(err)
		}
		if l.Bytes != int64(len(stream)) {
			t.Errorf("%d bytes are accounted for of %d", l.Bytes, len(stream))
		}
		return c, l
	}
	for n := range len(whole) {
		c, l := load(whole[:n])
		full := 0
		for full < len(events) && starts[full+1] <= n {
			full++
		}
		if c.Stats().Hosts != full || l.Lost != int64(n-starts[full]) {
			t.Fatalf("cut to %d bytes: %d hosts, %d bytes lost; want %d and %d", n, c.Stats().Hosts, l.Lost, full, n-starts[full])
		}
	}
	for n := range len(whole) {
		stream := bytes.Clone(whole)
		stream[n] ^= 0x10
		c, l := load(stream)
		if c.Stats().Hosts != len(events)-1 || l.Lost == 0 {
			t.Fatalf("byte %d changed: %d hosts, %d bytes lost", n, c.Stats().Hosts, l.Lost)
		}
	}
	for n := range 40 { // strange bytes between frames, the magic's beginning among them
		middle := append(bytes.Repeat([]byte("W"), n), "WBc"...)
		c, l := load(append(append(append([]byte{}, whole[:starts[2]]...), middle...), whole[starts[2]:]...))
		if c.Stats().Hosts != len(events) || l.Lost != int64(n+3) || l.Offset != int64(starts[2]) {
			t.Fatalf("%d strange bytes: %d hosts, %+v", n+3, c.Stats().Hosts, l)
		}
	}
	if _, l := load(bytes.Repeat([]byte("garbage "), 40000)); l.Lost != 320000 || l.Events != 0 {
		t.Errorf("garbage: %+v", l)
	}
}

func openFile(t testing.TB, path string) (*File, *Cache, *bytes.Buffer) {
	t.Helper()
	log := &bytes.Buffer{}
	c := newCache(t)
	f, err := OpenFile(path, c, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return f, c, log
}

func closeFile(t testing.TB, f *File) {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	f, c, _ := openFile(t, path)
	everything(t, c)
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	size := f.size
	// What is the same again, and statuses, cost nothing.
	update(t, c, pbInstance, "instance_id", 3, "name", "Lyon", "running", true)
	update(t, c, pbServiceStatus, "host_id", 1, "service_id", 8, "state", 1)
	if err := f.Flush(); err != nil || f.size != size {
		t.Errorf("size %d after a flush without changes, before %d (%v)", f.size, size, err)
	}
	// The process is killed: the configuration is there, statuses are not.
	f.file.Close()
	f, c, log := openFile(t, path)
	if log.Len() > 0 {
		t.Errorf("log: %s", log)
	}
	want(t, c.Host(2), "check_command", "ping6", "state", 0)
	want(t, c.Service(1, 7), "description", "s7", "state", 0)
	update(t, c, pbServiceStatus, "host_id", 1, "service_id", 8, "state", 1)
	update(t, c, pbHost, "host_id", 2, "enabled", false)
	closeFile(t, f)

	f, c, _ = openFile(t, path)
	defer closeFile(t, f)
	want(t, c.Service(1, 8), "state", 1)
	if c.Host(2) != nil {
		t.Error("the erased host is back")
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != 1 {
		t.Errorf("files %v, %v", files, err)
	}
}

// Many changes are replaced by what they led to.
func TestFileIsRewritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	f, c, _ := openFile(t, path)
	notes := strings.Repeat("x", 100_000)
	largest := int64(0)
	for i := range 200 {
		update(t, c, pbHost, "host_id", 1, "name", strings.Repeat("n", i+1), "notes", notes, "enabled", true)
		if err := f.Flush(); err != nil {
			t.Fatal(err)
		}
		largest = max(largest, f.size)
	}
	if largest < 8<<20 || largest > 9<<20 {
		t.Errorf("the file grew to %d bytes", largest)
	}
	f.file.Close()
	f, c, _ = openFile(t, path)
	defer closeFile(t, f)
	want(t, c.Host(1), "name", strings.Repeat("n", 200))
}

func TestDamagedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	f, c, _ := openFile(t, path)
	everything(t, c)
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	update(t, c, pbHost, "host_id", 99, "name", "last", "enabled", true)
	closeFile(t, f)
	// The last change is cut.
	f, c, _ = openFile(t, path)
	update(t, c, pbHost, "host_id", 100, "name", "torn", "enabled", true)
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, f.size-2); err != nil {
		t.Fatal(err)
	}
	torn, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f.file.Close()

	f, c, log := openFile(t, path)
	want(t, c.Host(99), "name", "last")
	want(t, c.Service(1, 8), "active_checks", false)
	if c.Host(100) != nil {
		t.Error("half a change was applied")
	}
	for _, part := range []string{"The broker cache is damaged", "file=" + path, "kept=" + path + ".damaged", "offset=", "damaged_bytes="} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("%q is not in the log: %s", part, log)
		}
	}
	kept, err := os.ReadFile(path + ".damaged")
	if err != nil || !bytes.Equal(kept, torn) {
		t.Errorf("the damaged file was not kept: %v", err)
	}
	update(t, c, pbHost, "host_id", 101, "name", "next", "enabled", true)
	closeFile(t, f)
	f, c, log = openFile(t, path)
	want(t, c.Host(101), "name", "next")
	if log.Len() > 0 {
		t.Errorf("log: %s", log)
	}
	closeFile(t, f)

	// A file that is something else altogether.
	if err := os.WriteFile(path, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, c, log = openFile(t, path)
	defer closeFile(t, f)
	if c.Stats().Hosts != 0 || !strings.Contains(log.String(), "damaged_bytes=5") {
		t.Errorf("%+v, log: %s", c.Stats(), log)
	}
	if kept, err := os.ReadFile(path + ".damaged"); err != nil || string(kept) != "hello" {
		t.Errorf("the strange file was not kept: %q, %v", kept, err)
	}
}

func TestFileErrors(t *testing.T) {
	directory := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	_, err := OpenFile(filepath.Join(directory, "missing", "cache"), newCache(t), log)
	if err == nil || !strings.Contains(err.Error(), "cannot write the broker cache") {
		t.Errorf("missing directory: %v", err)
	}
	if _, err := OpenFile(directory, newCache(t), log); err == nil || !strings.Contains(err.Error(), "cannot open the broker cache") {
		t.Errorf("a directory: %v", err)
	}

	// Changes that could not be written are written by the next call.
	path := filepath.Join(directory, "cache")
	f, c, _ := openFile(t, path)
	update(t, c, pbHost, "host_id", 1, "name", "h", "enabled", true)
	good := f.file
	if f.file, err = os.Open(path); err != nil {
		t.Fatal(err)
	}
	if err := f.Flush(); err == nil || !strings.Contains(err.Error(), "cannot append to the broker cache") {
		t.Errorf("a file that cannot be written: %v", err)
	}
	f.file.Close()
	f.file = good
	if err := f.Flush(); err != nil {
		t.Error(err)
	}
	f.file.Close()
	f, c, _ = openFile(t, path)
	defer closeFile(t, f)
	want(t, c.Host(1), "name", "h")
}

func FuzzCacheLoad(f *testing.F) {
	c := newCache(f)
	everything(f, c)
	f.Add(saved(f, c), false)
	var batch []byte
	it := event.NewIterator(saved(f, c)[frameHeader:])
	for it.Next() {
		batch = event.AppendBatch(batch, []event.Event{it.Event})
	}
	f.Add(batch, true)
	f.Add([]byte(frameMagic), false)
	f.Fuzz(func(t *testing.T, stream []byte, framed bool) {
		if framed { // bytes that reach the events
			var b bytes.Buffer
			w := frameWriter{w: &b, batch: stream}
			if err := w.flush(); err != nil {
				t.Fatal(err)
			}
			stream = b.Bytes()
		}
		c := NewCache(slog.New(slog.DiscardHandler))
		l, err := c.Load(bytes.NewReader(stream))
		if err != nil || l.Bytes != int64(len(stream)) || l.Lost > l.Bytes {
			t.Fatalf("%+v, %v of %d bytes", l, err, len(stream))
		}
		for id := range c.hosts {
			c.Host(id)
			c.CheckCommand(id, 0)
		}
		for id := range c.services {
			c.Service(id.host, id.service)
			c.Notes(id.host, id.service)
		}
		// What was loaded can be saved and loaded, and is the same then.
		first := saved(t, c)
		again := NewCache(slog.New(slog.DiscardHandler))
		if l, err := again.Load(bytes.NewReader(first)); err != nil || l.Lost != 0 {
			t.Fatalf("saved again: %+v, %v", l, err)
		}
		if second := saved(t, again); !bytes.Equal(first, second) {
			t.Errorf("saved twice:\n%q\n%q", first, second)
		}
	})
}

// A process opens the file while another one still uses it, and takes over from it.
func TestRefresh(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	open := func(c *Cache) *File {
		t.Helper()
		f, err := OpenFile(path, c, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	before, after := newCache(t), newCache(t)
	old := open(before)
	update(t, before, pbHost, "host_id", 1, "name", "h1", "enabled", true)
	if err := old.Flush(); err != nil {
		t.Fatal(err)
	}
	f := open(after)
	version := after.Version()
	if err := f.Refresh(); err != nil || after.Version() != version {
		t.Errorf("nothing had changed: %v, version %d before %d", err, after.Version(), version)
	}
	update(t, before, pbHost, "host_id", 1, "name", "h1", "enabled", false)
	everything(t, before)
	want := saved(t, before)
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Refresh(); err != nil || after.Version() <= version {
		t.Errorf("%v, version %d before %d", err, after.Version(), version)
	}
	if diff := cmp.Diff(want, saved(t, after)); diff != "" {
		t.Error(diff)
	}
	update(t, after, pbHost, "host_id", 9, "name", "h9", "enabled", true)
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	again := newCache(t)
	open(again)
	if diff := cmp.Diff(saved(t, after), saved(t, again)); diff != "" {
		t.Error(diff)
	}
}
