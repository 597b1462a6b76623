package spool_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"pgregory.net/rapid"

	"hooklog/relay/spool"
	"hooklog/schemas"
)

var now = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func options(disk vfs.FS) spool.Options {
	return spool.Options{Dir: "spool", FS: disk, Now: func() time.Time { return now }}
}

func open(t fataler, o spool.Options) *spool.Spool {
	t.Helper()
	s, err := spool.Open(o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return s
}

func closeSpool(t fataler, s *spool.Spool) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func event(i int) spool.Event {
	return spool.Event{
		Key:     schemas.KeyOf("demo", schemas.EventID(fmt.Sprintf("evt_%d", i))),
		BodySum: uint32(i), Arrived: now.Add(time.Duration(i) * time.Second), Record: fmt.Appendf(nil, "record %d", i),
	}
}

func put(t fataler, s *spool.Spool, i int, taken bool) *spool.Entry {
	t.Helper()
	e, err := s.Put(event(i), taken)
	if err != nil {
		t.Fatalf("put %d: %v", i, err)
	}
	return e
}

// wantTaken takes entries and checks that they are those events, in order.
func wantTaken(t fataler, s *spool.Spool, events ...int) (entries []*spool.Entry) {
	t.Helper()
	for _, i := range events {
		e, ok := s.Take()
		if !ok {
			t.Fatalf("take: none, want event %d", i)
		}
		record, err := s.Read(e)
		if err != nil {
			t.Fatalf("read event %d: %v", i, err)
		}
		want := event(i)
		if e.Key != want.Key || e.BodySum != want.BodySum || !e.Arrived.Equal(want.Arrived) || !bytes.Equal(record, want.Record) {
			t.Fatalf("take: got %+v %q, want event %d", e, record, i)
		}
		entries = append(entries, e)
	}
	return entries
}

func wantNone(t fataler, s *spool.Spool) {
	t.Helper()
	if e, ok := s.Take(); ok {
		t.Fatalf("take: got event %d, want none", e.BodySum)
	}
}

func TestSpool(t *testing.T) {
	disk := vfs.NewMem()
	s := open(t, options(disk))
	for i := range 5 {
		put(t, s, i, i == 2) // the producer has 2
	}
	if e, ok := s.Lookup(event(3).Key); !ok || e.BodySum != 3 {
		t.Errorf("look up event 3: %+v, %v", e, ok)
	}
	if _, ok := s.Lookup(event(9).Key); ok {
		t.Error("event 9 is there, want it unknown")
	}
	first := put(t, s, 3, false)
	if again := put(t, s, 3, true); again != first {
		t.Error("a copy got an entry of its own")
	}
	taken := wantTaken(t, s, 0, 1, 3)
	s.Return(taken[1])
	s.Return(taken[1])
	wantTaken(t, s, 1, 4)
	wantNone(t, s)
	if err := s.Delete(taken[0], taken[2]); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.Events != 3 || st.Waiting != 0 || st.Bytes != 3*(8+128) {
		t.Errorf("stats %+v, want 3 events, none waiting, %d bytes", st, 3*(8+128))
	}
	s.Return(taken[0]) // it is gone
	wantNone(t, s)
	closeSpool(t, s)

	s = open(t, options(disk))
	defer closeSpool(t, s)
	entries := wantTaken(t, s, 1, 2, 4)
	wantNone(t, s)
	if err := s.SetAside(entries[1], "too large"); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.Events != 2 || st.SetAside != 1 {
		t.Errorf("stats %+v, want 2 events and one set aside", st)
	}
	if _, ok := s.Lookup(event(2).Key); ok {
		t.Error("what was set aside is still found")
	}
	// A waiting entry may be deleted, too: the log was found to hold it.
	s.Return(entries[0])
	s.Return(entries[2])
	if err := s.Delete(entries[0]); err != nil {
		t.Fatal(err)
	}
	wantTaken(t, s, 4)
	wantNone(t, s)
	if got := put(t, s, 7, false); got == nil || s.Stats().OldestAgeSeconds != 0 {
		t.Errorf("stats %+v: an event from the future has no age", s.Stats())
	}
}

// TestFull: what does not fit is refused, and nothing else is lost of it.
func TestFull(t *testing.T) {
	o := options(vfs.NewMem())
	o.MaxBytes = 3 * (8 + 128)
	s := open(t, o)
	defer closeSpool(t, s)
	for i := range 3 {
		put(t, s, i, false)
	}
	if _, err := s.Put(event(3), false); !errors.Is(err, spool.ErrFull) {
		t.Errorf("put into a full spool: %v, want ErrFull", err)
	}
	put(t, s, 1, false) // it has that one
	if err := s.Delete(wantTaken(t, s, 0)...); err != nil {
		t.Fatal(err)
	}
	put(t, s, 3, false)
	wantTaken(t, s, 1, 2, 3)
}

type smallDisk struct {
	vfs.FS
	free atomic.Uint64
}

func (d *smallDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: d.free.Load()}, nil
}

func TestLowDisk(t *testing.T) {
	disk := &smallDisk{FS: vfs.NewMem()}
	clock := now
	o := options(disk)
	o.Now = func() time.Time { return clock }
	o.MinFree = 1 << 20
	s := open(t, o)
	defer closeSpool(t, s)
	disk.free.Store(1<<20 + 200)
	put(t, s, 0, false)
	if _, err := s.Put(event(1), false); !errors.Is(err, spool.ErrFull) {
		t.Errorf("put on a disk that is nearly full: %v, want ErrFull", err)
	}
	disk.free.Store(10 << 20)
	clock = clock.Add(time.Second)
	put(t, s, 1, false)
}

// TestCrash clones the disk at random moments, as losing power leaves it: with
// none, some or all of what was not synced. Whatever Put has returned is there.
func TestCrash(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mem := vfs.NewCrashableMem()
		s := open(t, options(mem))
		defer func() { closeSpool(t, s) }()
		kept := make(map[int]*spool.Entry)
		aside, next := int64(0), 0
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				var wg sync.WaitGroup
				for range rapid.IntRange(1, 8).Draw(t, "at once") {
					i := next
					next++
					kept[i] = nil
					wg.Go(func() {
						if _, err := s.Put(event(i), false); err != nil {
							t.Errorf("put %d: %v", i, err)
						}
					})
				}
				wg.Wait()
			},
			"drain": func(t *rapid.T) {
				if e, ok := s.Take(); ok {
					if err := s.Delete(e); err != nil {
						t.Fatal(err)
					}
					delete(kept, int(e.BodySum))
				}
			},
			"set aside": func(t *rapid.T) {
				if e, ok := s.Take(); ok {
					if err := s.SetAside(e, "poison"); err != nil {
						t.Fatal(err)
					}
					delete(kept, int(e.BodySum))
					aside++
				}
			},
			"crash": func(t *rapid.T) {
				unsynced := rapid.IntRange(0, 100).Draw(t, "unsynced percent")
				clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: rand.New(rand.NewPCG(1, uint64(next)))})
				after := open(t, options(clone))
				defer closeSpool(t, after)
				found := make(map[int]bool)
				for e, ok := after.Take(); ok; e, ok = after.Take() {
					record, err := after.Read(e)
					if err != nil || string(record) != fmt.Sprintf("record %d", e.BodySum) {
						t.Fatalf("event %d: record %q, %v", e.BodySum, record, err)
					}
					found[int(e.BodySum)] = true
				}
				for i := range kept {
					if !found[i] {
						t.Fatalf("event %d was kept and is gone; there are %v", i, found)
					}
				}
				if got := after.Stats().SetAside; got != aside {
					t.Fatalf("%d set aside, want %d", got, aside)
				}
			},
		})
	})
}

// TestDiskFaults lets the disk fail under load and be well again. Nothing is
// acknowledged that is not durable, nothing that was is lost, and the spool goes
// on once it is opened anew.
func TestDiskFaults(t *testing.T) {
	sync := func(op errorfs.Op) bool {
		return op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
	}
	write := func(op errorfs.Op) bool {
		return op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpReuseForWrite
	}
	for name, c := range map[string]struct {
		fails func(errorfs.Op) bool
		why   syscall.Errno
	}{
		"failed fsync": {sync, syscall.EIO},
		"full":         {write, syscall.ENOSPC},
		"read-only":    {func(op errorfs.Op) bool { return write(op) || sync(op) }, syscall.EROFS},
	} {
		t.Run(name, func(t *testing.T) {
			var broken atomic.Bool
			mem := vfs.NewCrashableMem()
			o := options(errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if broken.Load() && c.fails(op) {
					return &os.PathError{Op: "write", Path: op.Path, Err: c.why}
				}
				return nil
			})))
			s := open(t, o)
			var acked []int
			next := 0
			try := func() error {
				i := next
				next++
				_, err := s.Put(event(i), false)
				if err == nil {
					acked = append(acked, i)
				}
				return err
			}
			for range 20 {
				if err := try(); err != nil {
					t.Fatal(err)
				}
			}
			held, _ := s.Take()
			for round := range 3 {
				broken.Store(true)
				for range 5 {
					if err := try(); !errors.Is(err, spool.ErrFailed) {
						t.Fatalf("round %d: put on a disk that fails: %v, want ErrFailed", round, err)
					}
				}
				select {
				case <-s.Failed():
				default:
					t.Errorf("round %d: Failed is not closed", round)
				}
				if err := s.Delete(held); !errors.Is(err, spool.ErrFailed) {
					t.Fatalf("round %d: delete: %v, want ErrFailed", round, err)
				}
				s.Return(held) // It is handed out again once the spool is well.
				if err := s.Reopen(); err == nil {
					t.Fatalf("round %d: opened anew while the disk fails", round)
				}
				broken.Store(false)
				if err := try(); !errors.Is(err, spool.ErrFailed) {
					t.Fatalf("round %d: put before the store was opened anew: %v, want ErrFailed", round, err)
				}
				if err := s.Reopen(); err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
				first := held.BodySum
				if held, _ = s.Take(); held == nil || held.BodySum != first {
					t.Fatalf("round %d: took %+v, want event %d, which could not be deleted", round, held, first)
				}
				for range 5 {
					if err := try(); err != nil {
						t.Fatalf("round %d: put after the store was opened anew: %v", round, err)
					}
				}
			}
			// All that was acknowledged is there, also after a power loss; the one
			// that was held is still held.
			check := func(s *spool.Spool, skip int) {
				t.Helper()
				found := make(map[int]bool)
				for e, ok := s.Take(); ok; e, ok = s.Take() {
					if found[int(e.BodySum)] {
						t.Errorf("event %d is there twice", e.BodySum)
					}
					found[int(e.BodySum)] = true
				}
				for _, i := range acked {
					if !found[i] && i != skip {
						t.Errorf("event %d was acknowledged and is gone", i)
					}
				}
				if skip >= 0 && found[skip] {
					t.Errorf("event %d was handed out while it was held", skip)
				}
			}
			clone := mem.CrashClone(vfs.CrashCloneCfg{RNG: rand.New(rand.NewPCG(1, 2))})
			check(s, int(held.BodySum))
			if err := s.Delete(held); err != nil {
				t.Error(err)
			}
			closeSpool(t, s)
			after := open(t, options(clone))
			defer closeSpool(t, after)
			check(after, -1)
		})
	}
}

// TestUnreadable: a store that cannot be read stops the start, says what to do,
// and is left as it was.
func TestUnreadable(t *testing.T) {
	o := spool.Options{Dir: filepath.Join(t.TempDir(), "spool"), MinFree: 1}
	s := open(t, o)
	for i := range 50 {
		put(t, s, i, false)
	}
	if _, err := spool.Open(o); !errors.Is(err, spool.ErrLocked) {
		t.Errorf("open again: %v, want ErrLocked", err)
	}
	closeSpool(t, s)
	names, err := filepath.Glob(filepath.Join(o.Dir, "entries", "MANIFEST-*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no manifest: %v", err)
	}
	for _, name := range names {
		if err := os.WriteFile(name, []byte("no manifest"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_, err = spool.Open(o)
	if err == nil || !strings.Contains(err.Error(), "mend it, or move the folder away") {
		t.Fatalf("open a damaged spool: %v, want an error that says what to do", err)
	}
	if b, err := os.ReadFile(names[0]); err != nil || string(b) != "no manifest" {
		t.Errorf("the damaged store was changed: %q, %v", b, err)
	}
}
