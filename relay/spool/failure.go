package spool

import (
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guarded turns a panic into an error.
func guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrFailed, p)
		}
	}()
	return f()
}

// failure remembers the first reason for which one opening of the store can no
// longer be trusted. From then on it does nothing any more.
type failure struct {
	log    *slog.Logger
	first  atomic.Pointer[error]
	failed chan struct{}
	once   sync.Once
}

func (f *failure) err() error {
	if p := f.first.Load(); p != nil {
		return *p
	}
	return nil
}

func (f *failure) latch(err error) {
	f.once.Do(func() {
		err := fmt.Errorf("%w: %w", ErrFailed, err)
		f.first.Store(&err)
		f.log.Error("spool cannot be written: nothing is spooled until it is open again", "err", err)
		close(f.failed)
	})
}

// fence is what every operation of a failed store on its files ends with.
func (f *failure) fence() error {
	if f.first.Load() != nil {
		return &fs.PathError{Op: "use", Path: "spool", Err: syscall.EIO}
	}
	return nil
}

// run does something with the store and waits no longer than until the store
// fails: where Pebble meets an error that it cannot handle, whoever waits for it
// may wait for ever.
func (f *failure) run(what string, do func() error) error {
	if err := f.err(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		err := guarded(do)
		if err != nil {
			f.latch(fmt.Errorf("%s: %w", what, err))
		}
		done <- err
	}()
	stuck := time.NewTimer(stuckAfter)
	defer stuck.Stop()
	select {
	case err := <-done:
		if err == nil {
			return nil
		}
	case <-f.failed:
	case <-stuck.C:
		f.latch(fmt.Errorf("%s: the disk has not answered for %v", what, stuckAfter))
	}
	return f.err()
}

// unlocked is a file system on which a lock is nobody's: the spool holds one
// for its directory, and a store that has failed does not release its own.
type unlocked struct{ vfs.FS }

// Lock implements vfs.FS.
func (unlocked) Lock(string) (io.Closer, error) { return nopCloser{}, nil }

type nopCloser struct{}

func (nopCloser) Close() error { return nil }

// pebbleLogger sends Pebble's words to slog.
type pebbleLogger struct{ failure *failure }

// Infof implements pebble.Logger. Compactions and flushes are of no use to an
// operator.
func (l pebbleLogger) Infof(string, ...any) {}

// Errorf implements pebble.Logger.
func (l pebbleLogger) Errorf(format string, args ...any) {
	l.failure.log.Error("spool store", "err", fmt.Sprintf(format, args...))
}

// Fatalf implements pebble.Logger. It must not return: Pebble would go on and
// acknowledge what it could not write. The goroutine ends; nobody waits for it,
// and the store does nothing any more.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	l.failure.latch(fmt.Errorf(format, args...))
	runtime.Goexit()
}
