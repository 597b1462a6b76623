package index_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"hooklog/relay/index"
)

// TestFatalfNeverReturns holds the logger to Pebble's contract: where Fatalf
// returns, Pebble acknowledges what it could not write.
func TestFatalfNeverReturns(t *testing.T) {
	x, ref := openTest(t)
	ended := make(chan bool)
	go func() {
		returned := false
		defer func() { ended <- returned }()
		x.PebbleLogger().Fatalf("no %s", "space")
		returned = true
	}()
	if <-ended {
		t.Error("Fatalf has returned")
	}
	if _, err := x.Apply([]index.Fact{fact(ref, 1, 1, now)}, nil); err == nil {
		t.Error("facts are taken after Fatalf")
	}
	if _, _, err := x.Lookup(key(1), time.Time{}); err == nil {
		t.Error("\"not known\" is answered after Fatalf")
	}
}

// TestWriteErrors lets writes fail, in a child process. It finds out and ends in
// order, but for where Pebble dies by itself: it panics when it cannot make a
// write-ahead log, with a mutex unlocked that a deferred call unlocks again.
// However often it is called, Apply does not go on returning success, and what
// is left on the disk has no checkpoint ahead of its facts.
func TestWriteErrors(t *testing.T) {
	for fault := range faults {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "index")
			out, err := runChild(t, "write", dirEnv+"="+dir, faultEnv+"="+fault)
			ended := err == nil && strings.Contains(out, "failed: ") && strings.Contains(out, "close: ")
			if !ended && !strings.Contains(out, "fatal error: sync: unlock of unlocked mutex") {
				t.Errorf("child: %v, want it to find that a write failed, and to end in order; output:\n%s", err, out)
			}
			if strings.Contains(out, "BAD") {
				t.Errorf("child: %v, output:\n%s", err, out)
			}
			t.Logf("%v: %.200s", err, out)
			o := index.Options{Dir: dir, Now: func() time.Time { return now }}
			t.Logf("checkpoint afterwards: %d", checkAfterCrash(t, o, topicID, 0))
		})
	}
}

// faults are the operations that are made to fail.
var faults = map[string]func(errorfs.Op) bool{
	"write-wal":     func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, ".log") },
	"make-wal":      func(op errorfs.Op) bool { return op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".log") },
	"sync-wal":      func(op errorfs.Op) bool { return isSync(op) && strings.HasSuffix(op.Path, ".log") },
	"write-sstable": func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, ".sst") },
	"make-sstable":  func(op errorfs.Op) bool { return op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".sst") },
	"sync-sstable":  func(op errorfs.Op) bool { return isSync(op) && strings.HasSuffix(op.Path, ".sst") },
	"write-manifest": func(op errorfs.Op) bool {
		return op.Kind == errorfs.OpFileWrite && strings.Contains(op.Path, "MANIFEST-")
	},
	"sync-manifest":   func(op errorfs.Op) bool { return isSync(op) && strings.Contains(op.Path, "MANIFEST-") },
	"sync-everything": isSync,
}

func isSync(op errorfs.Op) bool {
	return op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
}

// childWrite applies facts until it fails, by an error or by a panic, and then
// tries a few times more.
func childWrite() {
	var broken atomic.Bool
	match := faults[os.Getenv(faultEnv)]
	disk := errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && match(op) {
			return errorfs.ErrInjected
		}
		return nil
	}))
	x, err := index.Open(index.Options{Dir: os.Getenv(dirEnv), FS: disk, Now: func() time.Time { return now }})
	if err != nil {
		fmt.Println("BAD open:", err)
		return
	}
	ref, err := x.Topic("webhooks", topicID)
	if err != nil {
		fmt.Println("BAD topic:", err)
		return
	}
	write := func(i int) error {
		return guarded(func() error {
			_, err := x.Apply([]index.Fact{fact(ref, i, int64(i), now)}, []index.Checkpoint{{Topic: ref, Offset: int64(i + 1)}})
			return err
		})
	}
	var failed error
	i := 0
	for ; failed == nil && i < 5_000_000; i++ {
		if i == 500 {
			broken.Store(true)
		}
		err := write(i)
		if err != nil {
			fmt.Printf("failed: after %d facts: %v\n", i, err)
			failed = err
		}
	}
	for range 3 {
		i++
		if write(i) == nil {
			fmt.Println("BAD: facts are taken after the store has failed")
		}
	}
	if _, _, err := x.Lookup(key(-1), time.Time{}); err == nil {
		fmt.Println("BAD: not known is answered after the store has failed")
	}
	if failed == nil {
		fmt.Println("BAD: nothing has failed")
		return
	}
	fmt.Println("close:", guarded(x.Close))
}

// guarded turns a panic into an error.
func guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f()
}

// Children of this test binary, for what ends or needs a process of its own.
const (
	childEnv = "HOOKLOG_INDEX_TEST_CHILD"
	dirEnv   = "HOOKLOG_INDEX_TEST_DIR"
	faultEnv = "HOOKLOG_INDEX_TEST_FAULT"
)

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(m.Run())
	case "write":
		childWrite()
	case "lock":
		_, err := index.Open(index.Options{Dir: os.Getenv(dirEnv)})
		fmt.Printf("open: %v\n", err)
	}
}

func runChild(t *testing.T, name string, env ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), append(env, childEnv+"="+name)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestLocked(t *testing.T) {
	o := index.Options{Dir: filepath.Join(t.TempDir(), "index")}
	x := open(t, o)
	if _, err := index.Open(o); !errors.Is(err, index.ErrLocked) {
		t.Errorf("open again in this process: %v, want ErrLocked", err)
	}
	out, err := runChild(t, "lock", dirEnv+"="+o.Dir)
	if err != nil || !strings.Contains(out, index.ErrLocked.Error()) {
		t.Errorf("open in another process: %v, %s; want ErrLocked", err, out)
	}
	// Neither attempt has done any harm.
	apply(t, x, fact(topicRef(t, x, "webhooks", topicID), 1, 1, now))
	closeIndex(t, x)
	x = open(t, o)
	wantOffset(t, x, 1, time.Time{}, 1)
	closeIndex(t, x)
}

// lockDenied is a file system on which no lock file can be made.
type lockDenied struct{ vfs.FS }

func (lockDenied) Lock(name string) (io.Closer, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
}

// TestLockDenied opens where the lock file cannot be made, which says nothing
// about another process.
func TestLockDenied(t *testing.T) {
	_, err := index.Open(options(lockDenied{vfs.NewMem()}))
	if !errors.Is(err, fs.ErrPermission) || errors.Is(err, index.ErrLocked) {
		t.Errorf("open: %v, want permission denied and not ErrLocked", err)
	}
}

// TestOpenOnBadDisk opens an index that is whole on a disk that is full or cannot
// be written: that is an error which says why, and no reason to make it anew.
func TestOpenOnBadDisk(t *testing.T) {
	for name, why := range map[string]syscall.Errno{"full": syscall.ENOSPC, "read-only": syscall.EROFS, "failing": syscall.EIO} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewMem()
			x := open(t, options(mem))
			ref := topicRef(t, x, "webhooks", topicID)
			apply(t, x, fact(ref, 1, 1, now))
			closeIndex(t, x)

			var log logBuffer
			o := options(errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
				switch op.Kind {
				case errorfs.OpCreate, errorfs.OpMkdirAll, errorfs.OpRename, errorfs.OpRemove, errorfs.OpFileWrite, errorfs.OpReuseForWrite:
					return &fs.PathError{Op: "write", Path: op.Path, Err: why}
				}
				return nil
			})))
			o.Logger = log.logger()
			if x, err := index.Open(o); !errors.Is(err, why) {
				if err == nil {
					_ = x.Close()
				}
				t.Errorf("open: %v, want an error that is %v", err, why)
			}
			if log.has(anew) {
				t.Errorf("the index was made anew:\n%s", log.String())
			}
			x = open(t, options(mem))
			defer closeIndex(t, x)
			wantOffset(t, x, 1, time.Time{}, 1)
		})
	}
}
