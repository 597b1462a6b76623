package file_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"hooklog/consumers"
	"hooklog/consumers/sink/file"
	"hooklog/consumers/sink/sinktest"
	"hooklog/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const topic = "webhooks"

func at(p int32) consumers.TopicPartition {
	return consumers.TopicPartition{Topic: topic, Partition: p}
}

func open(t *testing.T, dir string) *file.Sink {
	t.Helper()
	s, err := file.New(file.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func events(p int32, from, to int64) (all []schemas.Event) {
	for o := from; o < to; o++ {
		all = append(all, sinktest.Event(schemas.Position{Topic: topic, Partition: p, Offset: o}))
	}
	return all
}

// read returns what a reader of finished files sees, and fails on anything
// that is no whole line.
func read(t *testing.T, dir string) (all []schemas.Position) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) == 0 || b[len(b)-1] != '\n' {
			t.Errorf("%s ends with %q, want whole lines", name, b[max(0, len(b)-20):])
		}
		last := int64(-1)
		for sc := bufio.NewScanner(strings.NewReader(string(b))); sc.Scan(); {
			var e struct {
				Topic     string
				Partition int32
				Offset    int64
			}
			if err := json.Unmarshal(sc.Bytes(), &e); err != nil {
				t.Errorf("%s: %v in %q", name, err, sc.Bytes())
			}
			if last < 0 && filepath.Base(name) != file.FinishedName(consumers.TopicPartition{Topic: e.Topic, Partition: e.Partition}, e.Offset) {
				t.Errorf("%s begins at offset %d", name, e.Offset)
			}
			if e.Offset <= last {
				t.Errorf("%s has offset %d after %d", name, e.Offset, last)
			}
			last = e.Offset
			all = append(all, schemas.Position{Topic: e.Topic, Partition: e.Partition, Offset: e.Offset})
		}
	}
	return all
}

func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestConformance(t *testing.T) {
	sinktest.Run(t, func(t *testing.T) sinktest.Harness {
		dir := t.TempDir()
		return sinktest.Harness{
			Open: func() consumers.Sink { return open(t, dir) },
			Close: func(s consumers.Sink, crash bool) {
				err := error(nil)
				if crash {
					err = s.(*file.Sink).Crash()
				} else {
					err = s.(*file.Sink).Close()
				}
				if err != nil {
					t.Error(err)
				}
			},
			Read: func() []schemas.Position { return read(t, dir) },
		}
	})
}

// The order of the steps is what the promise rests on.
func TestSteps(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	defer s.Close()
	var steps []string
	s.OnStep(func(step string) error { steps = append(steps, step); return nil })
	must(t, assign(s, consumers.Offsets{at(0): 10, at(1): 0}))
	must(t, s.Write(t.Context(), events(1, 0, 2)))
	must(t, s.Write(t.Context(), events(0, 12, 14)))
	must(t, s.Flush(t.Context(), consumers.Offsets{at(0): 14, at(1): 2}))
	want := `create .webhooks-1-00000000000000000000.ndjson.part
create .webhooks-0-00000000000000000012.ndjson.part
write webhooks-0-00000000000000000012.ndjson
sync webhooks-0-00000000000000000012.ndjson
close webhooks-0-00000000000000000012.ndjson
rename webhooks-0-00000000000000000012.ndjson
write webhooks-1-00000000000000000000.ndjson
sync webhooks-1-00000000000000000000.ndjson
close webhooks-1-00000000000000000000.ndjson
rename webhooks-1-00000000000000000000.ndjson
sync folder`
	if got := strings.Join(steps, "\n"); got != want {
		t.Errorf("steps are\n%s\nwant\n%s", got, want)
	}
	if got := list(t, dir); !slices.Equal(got, []string{".lock", "webhooks-0-00000000000000000012.ndjson", "webhooks-1-00000000000000000000.ndjson"}) {
		t.Errorf("folder has %q", got)
	}
}

// A crash at any step, and before or after any commit: afterwards each event is
// in exactly one finished file.
func TestCrashAtEachStep(t *testing.T) {
	const n = 12 // events of each of two partitions
	live := t.TempDir()
	type crash struct {
		dir       string
		step      string
		committed consumers.Offsets
	}
	var crashes []crash
	committed := consumers.Offsets{at(0): 0, at(1): 0}
	snapshot := func(step string) error {
		crashes = append(crashes, crash{clone(t, live), step, maps.Clone(committed)})
		return nil
	}
	s := open(t, live)
	s.OnStep(snapshot)
	work := func(s *file.Sink, committed consumers.Offsets, chunk int64, snapshot func(string) error) {
		t.Helper()
		must(t, assign(s, committed))
		pos := maps.Clone(committed)
		for round := int64(0); pos[at(0)] < n || pos[at(1)] < n; round++ {
			for p := range int32(2) {
				to := min(pos[at(p)]+chunk, n)
				must(t, s.Write(t.Context(), events(p, pos[at(p)], to)))
				pos[at(p)] = to
			}
			due := maps.Clone(pos)
			if round%2 == 0 {
				delete(due, at(1)) // Partitions roll one by one, too.
			}
			must(t, s.Flush(t.Context(), due))
			must(t, snapshot("flushed"))
			for tp, o := range due {
				committed[tp] = o
			}
			must(t, snapshot("committed"))
		}
		must(t, s.Flush(t.Context(), pos))
		must(t, snapshot("flushed"))
		for tp, o := range pos {
			committed[tp] = o
		}
	}
	work(s, committed, 3, snapshot)
	must(t, s.Close())
	if len(crashes) < 40 {
		t.Fatalf("%d crashes, want more", len(crashes))
	}
	var want []string
	for p := range int32(2) {
		for o := range int64(n) {
			want = append(want, schemas.Position{Topic: topic, Partition: p, Offset: o}.String())
		}
	}
	slices.Sort(want)
	second := 0
	for i := 0; i < len(crashes); i++ {
		c := crashes[i]
		s := open(t, c.dir)
		again := func(string) error { return nil }
		if i%7 == 0 && second < 200 { // Some crash a second time, while they recover.
			again = func(step string) error {
				second++
				crashes = append(crashes, crash{clone(t, c.dir), c.step + ", then " + step, maps.Clone(c.committed)})
				return nil
			}
			s.OnStep(again)
		}
		work(s, c.committed, 5, again) // Other chunks than before the crash.
		must(t, s.Close())
		var got []string
		for _, p := range read(t, c.dir) {
			got = append(got, p.String())
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("crash %d, before %q with %v committed: readers see %q, want each once", i, c.step, c.committed, got)
		}
		if names := list(t, c.dir); slices.ContainsFunc(names, func(s string) bool { return strings.HasSuffix(s, ".part") }) {
			t.Errorf("crash %d, before %q: folder has %q", i, c.step, names)
		}
	}
	t.Logf("%d crashes", len(crashes))
}

// An error at any step is returned, nothing is finished half, and the next
// assignment repairs.
func TestErrorAtEachStep(t *testing.T) {
	for stop := 0; ; stop++ {
		dir := t.TempDir()
		s := open(t, dir)
		n := 0
		s.OnStep(func(string) error {
			n++
			if n == stop+1 {
				return file.ErrTest
			}
			return nil
		})
		err := errors.Join(
			assign(s, consumers.Offsets{at(0): 0}),
			s.Write(t.Context(), events(0, 1, 3)), // So that its name is another one than below.
			s.Flush(t.Context(), consumers.Offsets{at(0): 3}),
		)
		if n <= stop { // All steps are done.
			must(t, err)
			must(t, s.Close())
			if stop < 6 {
				t.Errorf("%d steps, want 6", stop)
			}
			return
		}
		if !errors.Is(err, file.ErrTest) {
			t.Errorf("step %d: got %v, want the injected error", n, err)
		}
		must(t, assign(s, consumers.Offsets{at(0): 0}))
		must(t, s.Write(t.Context(), events(0, 0, 4)))
		must(t, s.Flush(t.Context(), consumers.Offsets{at(0): 4}))
		if got := len(read(t, dir)); got != 4 {
			t.Errorf("step %d: readers see %d events, want 4", stop, got)
		}
		must(t, s.Close())
	}
}

func TestAssignmentCleans(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{
		file.FinishedName(at(0), 5), file.FinishedName(at(0), 10), file.FinishedName(at(0), 11), file.PartName(file.FinishedName(at(0), 2)),
		file.FinishedName(at(1), 50), file.PartName(file.FinishedName(at(1), 60)),
		"notes.txt", "webhooks-0-1.ndjson", "webhooks-x-00000000000000000099.ndjson", file.FinishedName(consumers.TopicPartition{Topic: "web-hooks", Partition: 0}, 99),
	} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("{}\n"), 0o644))
	}
	s := open(t, dir)
	defer s.Close()
	must(t, assign(s, consumers.Offsets{at(0): 10}))
	want := []string{
		".lock", file.PartName(file.FinishedName(at(1), 60)), "notes.txt", "web-hooks-0-00000000000000000099.ndjson",
		file.FinishedName(at(0), 5), "webhooks-0-1.ndjson", file.FinishedName(at(1), 50), "webhooks-x-00000000000000000099.ndjson",
	}
	if got := list(t, dir); !slices.Equal(got, want) {
		t.Errorf("folder has %q, want %q", got, want)
	}
}

func TestOneWriterPerFolder(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := file.New(file.Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) || !strings.Contains(err.Error(), dir) {
		t.Errorf("the second sink returned %v, want the folder and who has it", err)
	}
	must(t, s.Close())
	if err := s.Close(); err == nil {
		t.Error("the second Close returned nil")
	}
	if _, err := s.Assigned(t.Context(), nil); err == nil {
		t.Error("a closed sink takes partitions")
	}
	must(t, open(t, dir).Close())
}

func TestFlushBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := file.New(file.Options{Dir: t.TempDir(), RollAfter: time.Minute, RollBytes: 2000})
		must(t, err)
		defer s.Close()
		must(t, assign(s, consumers.Offsets{at(0): 0, at(1): 0}))
		f := func(p int32, want time.Time) {
			t.Helper()
			if got := s.FlushBy(at(p)); !got.Equal(want) {
				t.Errorf("partition %d wants to be flushed by %v, want %v", p, got, want)
			}
		}
		f(0, time.Time{})
		begin := time.Now()
		must(t, s.Write(t.Context(), events(0, 0, 1)))
		f(0, begin.Add(time.Minute))
		<-time.After(30 * time.Second) // Of the bubble's clock.
		must(t, s.Write(t.Context(), events(0, 1, 2)))
		f(0, begin.Add(time.Minute)) // By the first event, not the last.
		f(1, time.Time{})
		must(t, s.Write(t.Context(), events(0, 2, 20)))
		if got := s.FlushBy(at(0)); got.After(time.Now()) {
			t.Errorf("a file over its size wants to be flushed by %v, now is %v", got, time.Now())
		}
		must(t, s.Flush(t.Context(), consumers.Offsets{at(0): 20}))
		f(0, time.Time{})
		f(7, time.Time{})
	})
}

func TestOptions(t *testing.T) {
	o := file.Options{RollAfter: -1, RollBytes: -1}
	err := o.Validate()
	var fields []string
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		fields = append(fields, e.(interface{ Field() string }).Field())
	}
	if strings.Join(fields, " ") != "dir roll_after roll_bytes" {
		t.Errorf("mistakes in %q: %v", fields, err)
	}
	if _, err := file.New(o); err == nil {
		t.Error("New takes wrong options")
	}
}

func TestStrangersAreRefused(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	must(t, assign(s, consumers.Offsets{at(0): 0}))
	if err := s.Write(t.Context(), events(1, 0, 1)); err == nil {
		t.Error("an event of a partition that is not assigned is taken")
	}
	must(t, assign(s, consumers.Offsets{at(0): 0}))
	if err := s.Flush(t.Context(), consumers.Offsets{at(1): 1}); err == nil {
		t.Error("a partition that is not assigned is flushed")
	}
}

func FuzzParseName(f *testing.F) {
	f.Add(file.FinishedName(at(3), 42))
	f.Add(file.PartName(file.FinishedName(at(3), 42)))
	f.Add("a-b-0-00000000000000000001.ndjson")
	f.Add("-0-00000000000000000001.ndjson")
	f.Fuzz(func(t *testing.T, name string) {
		tp, first, unfinished, ok := file.ParseName(name)
		if !ok {
			return
		}
		back := file.FinishedName(tp, first)
		if unfinished {
			back = file.PartName(back)
		}
		if back != name {
			t.Errorf("%q is parsed as %v at %d, which is %q", name, tp, first, back)
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func assign(s *file.Sink, start consumers.Offsets) error {
	_, err := s.Assigned(context.Background(), maps.Clone(start))
	return err
}

// clone copies a folder as a crash would leave it.
func clone(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	must(t, os.CopyFS(to, os.DirFS(dir)))
	return to
}
