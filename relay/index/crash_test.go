package index_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"hooklog/relay/index"
)

// written is what was handed to Apply for one topic, in order: event i is at
// offset i.
type written struct {
	ref     index.TopicRef
	offsets int
}

// checkAfterCrash opens what a crash left and checks that no checkpoint is
// ahead of its facts. It returns the checkpoint.
func checkAfterCrash(t fataler, o index.Options, id index.TopicID, base int) int64 {
	t.Helper()
	x := open(t, o)
	defer closeIndex(t, x)
	ref := topicRef(t, x, "webhooks", id)
	marks, err := x.Checkpoints(ref)
	if err != nil {
		t.Fatalf("checkpoints: %v", err)
	}
	mark := marks[0].Offset
	for i := range mark {
		if mark-i < 500 || i%97 == 0 { // all that is young, and some of the rest
			wantOffset(t, x, base+int(i), time.Time{}, i)
		}
	}
	return mark
}

// TestCrash clones the disk at random points, with none, some or all of what
// was not synced, and opens the clone.
func TestCrash(t *testing.T) {
	kept, lost := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		mem := vfs.NewCrashableMem()
		x := open(t, options(mem))
		defer func() { closeIndex(t, x) }()
		clock := now
		incarnation, base := byte(1), 0
		w := written{ref: topicRef(t, x, "webhooks", index.TopicID{incarnation})}
		crash := func(t *rapid.T, unsynced int) {
			cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: rand.New(rand.NewPCG(1, uint64(w.offsets)))}
			var log logBuffer
			o := options(mem.CrashClone(cfg))
			o.Logger = log.logger()
			if checkAfterCrash(t, o, index.TopicID{incarnation}, base) > 0 {
				kept++
			} else {
				lost++
			}
			if unsynced == 100 && log.has(anew) {
				t.Fatalf("made anew after a mere kill")
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"apply": func(t *rapid.T) {
				var facts []index.Fact
				for range rapid.IntRange(0, 40).Draw(t, "facts") {
					facts = append(facts, fact(w.ref, base+w.offsets, int64(w.offsets), now.Add(-time.Duration(w.offsets)*time.Minute)))
					w.offsets++
				}
				var marks []index.Checkpoint
				if rapid.Bool().Draw(t, "checkpoint") {
					marks = append(marks, index.Checkpoint{Topic: w.ref, Offset: int64(w.offsets)})
				}
				if _, err := x.Apply(facts, marks); err != nil {
					t.Fatal(err)
				}
			},
			"flush": func(t *rapid.T) {
				if err := x.Flush(); err != nil {
					t.Fatal(err)
				}
			},
			"tidy": func(t *rapid.T) {
				for range 12 {
					if err := x.Maintain(clock); err != nil {
						t.Fatal(err)
					}
					x.AwaitTidy()
					clock = clock.Add(11 * time.Second)
				}
				clock = clock.Add(time.Hour)
			},
			"late fact": func(t *rapid.T) {
				age := time.Duration(rapid.IntRange(1, 25).Draw(t, "days")) * day
				apply(t, x, fact(w.ref, base+w.offsets, int64(w.offsets), now.Add(-age)))
				w.offsets++
			},
			"reopen": func(t *rapid.T) {
				closeIndex(t, x)
				x = open(t, options(mem))
			},
			"recreate topic": func(t *rapid.T) {
				incarnation++
				base += 1000
				w = written{ref: topicRef(t, x, "webhooks", index.TopicID{incarnation})}
			},
			"kill":       func(t *rapid.T) { crash(t, 100) },
			"power loss": func(t *rapid.T) { crash(t, rapid.IntRange(0, 99).Draw(t, "unsynced percent")) },
		})
	})
	t.Logf("%d crashes kept a checkpoint, %d had none", kept, lost)
	if kept == 0 {
		t.Error("no crash kept a checkpoint: the test tests nothing")
	}
}

// TestCrashUnderLoad clones the disk while facts are applied and memtables
// flushed, at moments nobody chose.
func TestCrashUnderLoad(t *testing.T) {
	mem := vfs.NewCrashableMem()
	x := open(t, options(mem))
	defer closeIndex(t, x)
	ref := topicRef(t, x, "webhooks", topicID)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := x.Apply([]index.Fact{fact(ref, i, int64(i), now)}, []index.Checkpoint{{Topic: ref, Offset: int64(i + 1)}}); err != nil {
				t.Error(err)
				return
			}
			if i%200 == 199 {
				if err := x.Flush(); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	rng := rand.New(rand.NewPCG(1, 2))
	var last int64
	for i := range 15 {
		unsynced := []int{0, 50, 100}[i%3]
		mark := checkAfterCrash(t, options(mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: rng})), topicID, 0)
		last = max(last, mark)
	}
	close(stop)
	wg.Wait()
	t.Logf("last checkpoint %d", last)
	if last == 0 {
		t.Error("no checkpoint in any clone: the test tests nothing")
	}
}
