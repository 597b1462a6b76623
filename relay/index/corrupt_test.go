package index_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hooklog/relay/index"
)

// fill makes an index on disk with events 0 to n-1 in several sstables and a
// write-ahead log, and closes it.
func fill(t *testing.T, o index.Options, n int) {
	t.Helper()
	x := open(t, o)
	ref := topicRef(t, x, "webhooks", topicID)
	for i := range n {
		apply(t, x, fact(ref, i, int64(i), now.Add(-time.Duration(i%20)*day)))
		if i == n/3 || i == n/2 {
			if err := x.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	closeIndex(t, x)
}

func diskOptions(t *testing.T, log *logBuffer) index.Options {
	return index.Options{Dir: filepath.Join(t.TempDir(), "index"), Logger: log.logger(), Now: func() time.Time { return now }}
}

const anew = "made anew"

// TestMadeAnew opens indexes that are whole but not what is asked for.
func TestMadeAnew(t *testing.T) {
	f := func(name string, change func(*testing.T, *index.Options)) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			var log logBuffer
			o := diskOptions(t, &log)
			fill(t, o, 30)
			change(t, &o)
			x := open(t, o)
			defer closeIndex(t, x)
			if !log.has(anew) {
				t.Error("no warning that the index is made anew")
			}
			if s := x.Stats(); s.IDs != 0 {
				t.Errorf("ids: got %d, want 0", s.IDs)
			}
			ref := topicRef(t, x, "webhooks", topicID)
			wantMarks(t, x, ref, nil)
			apply(t, x, fact(ref, 1, 1, now))
			wantOffset(t, x, 1, now, 1)
		})
	}
	f("another window", func(_ *testing.T, o *index.Options) { o.Window = 60 * day })
	f("another layout", func(t *testing.T, o *index.Options) {
		x := open(t, *o)
		if err := x.SetLayoutVersion(200); err != nil {
			t.Fatal(err)
		}
		closeIndex(t, x)
	})
	f("a newer store format", func(t *testing.T, o *index.Options) {
		rename(t, o, "marker.format-version.", func(name string) string { return name[:len(name)-3] + "999" })
	})
	f("a missing manifest", func(t *testing.T, o *index.Options) { remove(t, o, "MANIFEST-") })
	f("a missing sstable", func(t *testing.T, o *index.Options) { remove(t, o, ".sst") })
	f("damage found in use", func(t *testing.T, o *index.Options) {
		if err := os.WriteFile(filepath.Join(o.Dir, "DAMAGED"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	})
}

// TestKept opens indexes that are still good.
func TestKept(t *testing.T) {
	f := func(name string, change func(*testing.T, *index.Options)) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			var log logBuffer
			o := diskOptions(t, &log)
			fill(t, o, 30)
			change(t, &o)
			x := open(t, o)
			defer closeIndex(t, x)
			if log.has(anew) {
				t.Errorf("the index was made anew, want it kept:\n%s", log.String())
			}
			wantOffset(t, x, 0, time.Time{}, 0)
		})
	}
	f("as it was", func(*testing.T, *index.Options) {})
	f("moved", func(t *testing.T, o *index.Options) {
		old := o.Dir
		o.Dir += "-moved"
		if err := os.Rename(old, o.Dir); err != nil {
			t.Fatal(err)
		}
	})
	f("without the end of its write-ahead log", func(t *testing.T, o *index.Options) {
		logs := find(t, o, ".log")
		name := logs[len(logs)-1]
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(name, info.Size()/2); err != nil {
			t.Fatal(err)
		}
	})
}

// TestFlippedBytes damages each kind of file at many places. Whatever is hit,
// the index opens; and it either answers as it did before, or was made anew, or
// finds the damage when it is used and is made anew at the next start.
func TestFlippedBytes(t *testing.T) {
	const n = 300
	var pristine logBuffer
	o := diskOptions(t, &pristine)
	fill(t, o, n)
	for _, kind := range []string{".sst", "MANIFEST-", ".log", "OPTIONS-"} {
		t.Run(kind, func(t *testing.T) {
			outcomes := make(map[string]int)
			for _, name := range find(t, &o, kind) {
				info, err := os.Stat(name)
				if err != nil {
					t.Fatal(err)
				}
				step := max(1, info.Size()/25)
				for at := int64(0); at < info.Size(); at += step {
					rel, err := filepath.Rel(o.Dir, name)
					if err != nil {
						t.Fatal(err)
					}
					outcomes[openDamaged(t, o.Dir, rel, at, n)]++
				}
			}
			t.Logf("%v", outcomes)
		})
	}
}

// openDamaged flips one byte in a copy of an index and reports what came of it.
func openDamaged(t *testing.T, dir, name string, at int64, n int) string {
	t.Helper()
	where := fmt.Sprintf("%s byte %d", name, at)
	var log logBuffer
	o := index.Options{Dir: filepath.Join(t.TempDir(), "index"), Logger: log.logger(), Now: func() time.Time { return now }}
	if err := os.CopyFS(o.Dir, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(o.Dir, name)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 0xff
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}

	x := open(t, o)
	if log.has(anew) {
		closeIndex(t, x)
		return "made anew"
	}
	missing := 0
	var failed error
	for i := range n {
		f, ok, err := x.Lookup(key(i), time.Time{})
		switch {
		case err != nil:
			failed = err
		case !ok:
			missing++
		case f.Offset != int64(i) || f.BodySum != uint32(i):
			t.Errorf("%s: event %d: wrong fact %v", where, i, f)
		}
	}
	if failed == nil {
		// A write-ahead log may lose its end; the log is read again from the
		// checkpoint. Nothing else may lose anything without saying so.
		if missing > 0 && !strings.HasSuffix(name, ".log") {
			t.Errorf("%s: %d events are missing without an error", where, missing)
		}
		closeIndex(t, x)
		if missing > 0 {
			return "lost its end"
		}
		return "no harm"
	}
	if _, err := x.Apply([]index.Fact{fact(1, n+1, 1, now)}, nil); err == nil {
		t.Errorf("%s: facts are taken after a look-up found damage", where)
	}
	closeIndex(t, x)
	closeIndex(t, open(t, o))
	if !log.has(anew) {
		t.Errorf("%s: not made anew at the start after a look-up failed: %v", where, failed)
	}
	return "found when used"
}

// TestDamageInUse damages sstables of an open index: a look-up that meets it
// fails, so do all that follow, and the next start makes the index anew.
func TestDamageInUse(t *testing.T) {
	const n = 5000 // more blocks than Pebble reads for its own statistics
	var log logBuffer
	o := diskOptions(t, &log)
	fill(t, o, n)
	x := open(t, o)
	// All in new files, of which nothing has been read yet.
	if err := x.Compact(); err != nil {
		t.Fatal(err)
	}
	for _, name := range find(t, &o, ".sst") {
		b, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // An old one, just removed.
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range b {
			b[i] ^= 0xff
		}
		file, err := os.OpenFile(name, os.O_WRONLY, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteAt(b, 0); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var failed error
	for i := 0; i < n && failed == nil; i++ {
		var ok bool
		if _, ok, failed = x.Lookup(key(i), time.Time{}); failed == nil && !ok {
			t.Fatalf("event %d is missing without an error", i)
		}
	}
	if failed == nil {
		t.Fatal("no look-up failed")
	}
	if _, _, err := x.Lookup(key(n+1), time.Time{}); err == nil {
		t.Error("\"not known\" is answered after damage was found")
	}
	if _, err := x.Apply([]index.Fact{fact(1, n+1, 1, now)}, nil); err == nil {
		t.Error("facts are taken after damage was found")
	}
	if err := x.Maintain(now); err == nil {
		t.Error("generations are dropped after damage was found")
	}
	if _, err := x.Topic("other", index.TopicID{7}); err == nil {
		t.Error("a topic is taken after damage was found")
	}
	closeIndex(t, x)
	closeIndex(t, open(t, o))
	if !log.has(anew) {
		t.Errorf("not made anew at the next start after: %v", failed)
	}
	x = open(t, o)
	defer closeIndex(t, x)
	if s := x.Stats(); s.IDs != 0 {
		t.Errorf("ids: got %d, want 0", s.IDs)
	}
}

// find returns the store's files whose names contain a text.
func find(t *testing.T, o *index.Options, text string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(o.Dir, "facts"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		if strings.Contains(e.Name(), text) {
			out = append(out, filepath.Join(o.Dir, "facts", e.Name()))
		}
	}
	if len(out) == 0 {
		t.Fatalf("no %q among %v", text, entries)
	}
	return out
}

func remove(t *testing.T, o *index.Options, text string) {
	t.Helper()
	if err := os.Remove(find(t, o, text)[0]); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, o *index.Options, text string, to func(string) string) {
	t.Helper()
	name := find(t, o, text)[0]
	if err := os.Rename(name, to(name)); err != nil {
		t.Fatal(err)
	}
}
