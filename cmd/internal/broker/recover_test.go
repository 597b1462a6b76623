package broker_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"hooklog/cmd/internal/broker"
)

// filled makes a directory with a few records in several segments of one
// partition, a group's offset, and an idle topic.
func filled(t *testing.T, kill bool) string {
	t.Helper()
	dir := t.TempDir()
	c := startChild(t, dir, "127.0.0.1:0")
	cl := client(t, c.addr)
	createTopic(t, cl, 1, "webhooks", map[string]string{"segment.bytes": "150"})
	createTopic(t, cl, 1, "idle", nil)
	produce(t, cl, "webhooks", 0, "a", "b", "c", "d", "e", "f", "g")
	commit(t, cl, "group", "webhooks", map[int32]int64{0: 3})
	cl.Close()
	c.kill()
	if !kill {
		closeBroker(t, start(t, dir))
	}
	return dir
}

// segmentFiles are the partition's segments from the first to the last.
func segmentFiles(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	for offset := range 10 {
		name := filepath.Join(dir, "partitions", "webhooks-0", string(rune('0'+offset))+".dat")
		if _, err := os.Stat(name); err == nil {
			out = append(out, name)
		}
	}
	if len(out) < 3 {
		t.Fatalf("%d segments, want 3 at least", len(out))
	}
	return out
}

func change(t *testing.T, path string, f func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, f(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

// contents is every file of a directory but the lock.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "lock" {
			return err
		}
		b, err := os.ReadFile(path)
		out[strings.TrimPrefix(path, dir)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func last(t *testing.T, dir string) string {
	t.Helper()
	s := segmentFiles(t, dir)
	return s[len(s)-1]
}

func index(segment string) string { return strings.TrimSuffix(segment, ".dat") + ".idx" }

// A kill may leave the end of a file half written. What was acknowledged is
// all there, and what comes later is as safe as before.
func TestTornWrites(t *testing.T) {
	// As many bytes of a later batch as came to the disk.
	torn := func(n int) func([]byte) []byte {
		return func(b []byte) []byte {
			next := bytes.Clone(b)
			binary.BigEndian.PutUint64(next, 7)
			return append(b, next[:n]...)
		}
	}
	for name, break1 := range map[string]func(t *testing.T, dir string){
		"one byte of a batch":      func(t *testing.T, dir string) { change(t, last(t, dir), torn(1)) },
		"half a header of a batch": func(t *testing.T, dir string) { change(t, last(t, dir), torn(30)) },
		"a header of a batch":      func(t *testing.T, dir string) { change(t, last(t, dir), torn(61)) },
		"most of a batch":          func(t *testing.T, dir string) { change(t, last(t, dir), torn(65)) },
		"zeros instead of a batch": func(t *testing.T, dir string) { change(t, last(t, dir), add(strings.Repeat("\x00", 4096))) },
		"a batch with a wrong sum": func(t *testing.T, dir string) {
			change(t, last(t, dir), add("\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x31\x00\x00\x00\x00\x02"+strings.Repeat("\x00", 44)))
		},
		"a new segment without bytes": func(t *testing.T, dir string) { write(t, dir, "7.dat", ""); write(t, dir, "7.idx", "") },
		"a new segment, half a batch": func(t *testing.T, dir string) { write(t, dir, "7.dat", "\x00\x00\x00"); write(t, dir, "7.idx", "") },
		"no index entry":              func(t *testing.T, dir string) { change(t, index(last(t, dir)), cut(15)) },
		"half an index entry":         func(t *testing.T, dir string) { change(t, index(last(t, dir)), cut(7)) },
		"an index entry of zeros": func(t *testing.T, dir string) {
			change(t, index(last(t, dir)), func(b []byte) []byte { return append(b[:len(b)-15], make([]byte, 15)...) })
		},
		"one index entry too many": func(t *testing.T, dir string) {
			change(t, index(last(t, dir)), func(b []byte) []byte { return append(b, b[:15]...) })
		},
		"no index": func(t *testing.T, dir string) { remove(t, index(last(t, dir))) },
		"half a commit": func(t *testing.T, dir string) {
			change(t, filepath.Join(dir, "groups.log"), func(b []byte) []byte { return append(b, b[:20]...) })
		},
		"zeros instead of a commit": func(t *testing.T, dir string) {
			change(t, filepath.Join(dir, "groups.log"), add(strings.Repeat("\x00", 100)))
		},
		"half a producer": func(t *testing.T, dir string) {
			change(t, filepath.Join(dir, "pids.log"), func(b []byte) []byte { return append(b, b[:9]...) })
		},
		"a temporary file": func(t *testing.T, dir string) {
			change(t, filepath.Join(dir, "topics.json"), func(b []byte) []byte { write(t, dir, "snapshot.json.tmp", "{"); return b })
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filled(t, true)
			wantIndex, lastIndex := entries(t, index(last(t, dir))), index(last(t, dir))
			break1(t, dir)
			c := startChild(t, dir, "127.0.0.1:0")
			if diff := cmp.Diff(wantIndex, entries(t, lastIndex)); diff != "" {
				t.Errorf("index of the last segment (-before +after):\n%s", diff)
			}
			if got, want := values(records(t, c.addr, "webhooks")[0]), "a b c d e f g"; got != want {
				t.Errorf("records %q, want %q", got, want)
			}
			cl := client(t, c.addr)
			if diff := cmp.Diff(map[int32]int64{0: 3}, committed(t, cl, "group", "webhooks")); diff != "" {
				t.Errorf("committed offsets (-want +got):\n%s", diff)
			}
			// What comes after the torn place must be read again, too.
			produce(t, cl, "webhooks", 0, "h")
			commit(t, cl, "group", "webhooks", map[int32]int64{0: 8})
			cl.Close()
			c.kill()
			b := start(t, dir)
			cl = client(t, b.Addr())
			got := records(t, b.Addr(), "webhooks", kgo.FetchIsolationLevel(kgo.ReadCommitted()))[0]
			if values(got) != "a b c d e f g h" || got[7].Offset != 7 {
				t.Errorf("records after the next kill: %q, want %q with the last at 7", values(got), "a b c d e f g h")
			}
			if diff := cmp.Diff(map[int32]int64{0: 8}, committed(t, cl, "group", "webhooks")); diff != "" {
				t.Errorf("committed offsets after the next kill (-want +got):\n%s", diff)
			}
		})
	}
}

// entries is an index file without the running maximum, which kfake does not
// read, and the checksum.
func entries(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for e := range slices.Chunk(b, 15) {
		if len(e) == 15 {
			e = slices.Concat(e[:1], e[2:6], e[14:])
		}
		out = append(out, string(e))
	}
	return out
}

// Where all records are gone, a file that was made for the next one still
// tells its offset.
func TestOffsetsGoOnFromAnEmptySegment(t *testing.T) {
	for name, text := range map[string]string{"empty": "", "half a batch": "\x00\x00\x00"} {
		dir := filled(t, true)
		for _, s := range segmentFiles(t, dir) {
			remove(t, s)
			remove(t, index(s))
		}
		write(t, dir, "7.dat", text)
		b := start(t, dir)
		produce(t, client(t, b.Addr()), "webhooks", 0, "next")
		if got := records(t, b.Addr(), "webhooks")[0]; values(got) != "next" || got[0].Offset != 7 {
			t.Errorf("%s: records %v, want one at offset 7", name, got)
		}
		closeBroker(t, b)
	}
}

func add(s string) func([]byte) []byte { return func(b []byte) []byte { return append(b, s...) } }
func cut(n int) func([]byte) []byte    { return func(b []byte) []byte { return b[:len(b)-n] } }

func flip(at int) func([]byte) []byte {
	return func(b []byte) []byte {
		if at < 0 {
			at += len(b)
		}
		b[at] ^= 0xff
		return b
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "partitions", "webhooks-0", name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// A directory that lacks something is refused and left as it is.
func TestDamage(t *testing.T) {
	const either, clean, killed = 0, 1, 2
	for name, tt := range map[string]struct {
		after  int
		break1 func(t *testing.T, dir string)
		want   string
	}{
		"no meta.json":           {either, func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "meta.json")) }, "meta.json"},
		"meta.json is no JSON":   {either, func(t *testing.T, dir string) { change(t, filepath.Join(dir, "meta.json"), cut(1)) }, "meta.json"},
		"no topics.json":         {either, func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "topics.json")) }, "topics.json"},
		"topics.json is no JSON": {either, func(t *testing.T, dir string) { change(t, filepath.Join(dir, "topics.json"), cut(1)) }, "topics.json"},
		"a topic is missing": {either, func(t *testing.T, dir string) {
			change(t, filepath.Join(dir, "topics.json"), func(b []byte) []byte { return bytes.Replace(b, []byte(`"webhooks"`), []byte(`"other"`), 1) })
		}, "webhooks-0"},
		"a bit of the first segment":    {either, func(t *testing.T, dir string) { change(t, segmentFiles(t, dir)[0], flip(-1)) }, "checksum"},
		"a length of the first segment": {either, func(t *testing.T, dir string) { change(t, segmentFiles(t, dir)[0], flip(8)) }, "0.dat, byte 0"},
		"the first batch of the last":   {killed, func(t *testing.T, dir string) { change(t, twoBatches(t, dir), flip(66)) }, "checksum"},
		"the first length of the last":  {killed, func(t *testing.T, dir string) { change(t, twoBatches(t, dir), flip(9)) }, "byte 0"},
		"a segment in between is gone":  {either, func(t *testing.T, dir string) { remove(t, segmentFiles(t, dir)[1]) }, "follows"},
		"a segment in between is short": {either, func(t *testing.T, dir string) { change(t, segmentFiles(t, dir)[1], cut(3)) }, "ends within"},
		"the last segment is gone":      {clean, func(t *testing.T, dir string) { remove(t, last(t, dir)) }, "offset 6"},
		"the last segment is short":     {clean, func(t *testing.T, dir string) { change(t, last(t, dir), cut(3)) }, "offset 6"},
		"the first segment is gone":     {clean, func(t *testing.T, dir string) { remove(t, segmentFiles(t, dir)[0]) }, "segments"},
		"all segments are gone": {clean, func(t *testing.T, dir string) {
			for _, s := range segmentFiles(t, dir) {
				remove(t, s)
			}
		}, "segments"},
		"bytes at the end":    {clean, func(t *testing.T, dir string) { change(t, last(t, dir), add("xyz")) }, "segments"},
		"snapshot is no JSON": {clean, func(t *testing.T, dir string) { write(t, dir, "snapshot.json", "{") }, "snapshot.json"},
		"a commit in between": {either, func(t *testing.T, dir string) {
			change(t, filepath.Join(dir, "groups.log"), func(b []byte) []byte { c := bytes.Clone(b); return append(flip(12)(b), c...) })
		}, "groups.log"},
		"a producer in between": {either, func(t *testing.T, dir string) {
			change(t, filepath.Join(dir, "pids.log"), func(b []byte) []byte { c := bytes.Clone(b); return append(flip(12)(b), c...) })
		}, "pids.log"},
		"a directory that means nothing": {either, func(t *testing.T, dir string) {
			if err := os.Mkdir(filepath.Join(dir, "partitions", "x"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, "x"},
	} {
		for _, kill := range []bool{false, true} {
			if tt.after == clean && kill || tt.after == killed && !kill {
				continue
			}
			t.Run(name+map[bool]string{false: "/clean", true: "/killed"}[kill], func(t *testing.T) {
				dir := filled(t, kill)
				tt.break1(t, dir)
				before := contents(t, dir)
				b, err := broker.Start(broker.Options{Listen: "127.0.0.1:0", Dir: dir})
				if err == nil {
					b.Close()
				}
				if !errors.Is(err, broker.ErrDamaged) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), dir) {
					t.Errorf("Start = %v, want ErrDamaged with %q and %q", err, tt.want, dir)
				}
				if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
					t.Errorf("the directory was changed (-before +after):\n%s", diff)
				}
			})
		}
	}
}

// twoBatches puts the last two batches into the last segment.
func twoBatches(t *testing.T, dir string) string {
	t.Helper()
	files := segmentFiles(t, dir)
	tail, err := os.ReadFile(files[len(files)-1])
	if err != nil {
		t.Fatal(err)
	}
	remove(t, files[len(files)-1])
	file := files[len(files)-2]
	change(t, file, add(string(tail)))
	return file
}

func TestNewerFormat(t *testing.T) {
	dir := filled(t, true)
	change(t, filepath.Join(dir, "meta.json"), func(b []byte) []byte {
		return bytes.Replace(b, []byte(`"version":1`), []byte(`"version":2`), 1)
	})
	b, err := broker.Start(broker.Options{Listen: "127.0.0.1:0", Dir: dir})
	if err == nil {
		b.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "format 2") {
		t.Errorf("Start = %v, want an error that names format 2", err)
	}
}

// Nothing is said of a kill after a clean stop, and the same again after one.
func TestSaysWhetherItWasKilled(t *testing.T) {
	dir := filled(t, true)
	for i, want := range []bool{true, false, false} {
		var l logs
		b, err := broker.Start(broker.Options{Listen: "127.0.0.1:0", Dir: dir, Logger: slog.New(slog.NewTextHandler(&l, nil))})
		if err != nil {
			t.Fatal(err)
		}
		closeBroker(t, b)
		if got := strings.Contains(l.String(), "not closed"); got != want {
			t.Errorf("start %d says that the log was not closed: %v, want %v; it said:\n%s", i, got, want, l.String())
		}
	}
}

// A deleted topic leaves nothing that a later start would stumble over.
func TestDeletedTopic(t *testing.T) {
	for _, kill := range []bool{false, true} {
		dir := filled(t, kill)
		c := startChild(t, dir, "127.0.0.1:0")
		cl := client(t, c.addr)
		deleteTopic(t, cl, "webhooks")
		createTopic(t, cl, 1, "webhooks", nil)
		produce(t, cl, "webhooks", 0, "new")
		cl.Close()
		c.kill()
		b := start(t, dir)
		if got := records(t, b.Addr(), "webhooks")[0]; values(got) != "new" || got[0].Offset != 0 {
			t.Errorf("records of the topic made anew: %q, want new at offset 0", values(got))
		}
		names := slices.Sorted(maps.Keys(contents(t, filepath.Join(dir, "partitions"))))
		if len(names) == 0 || slices.ContainsFunc(names, func(s string) bool { return strings.Contains(s, "6.dat") }) {
			t.Errorf("files of the partitions: %q, want none of the old topic", names)
		}
		closeBroker(t, b)
	}
}
