package spool

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"hooklog/schemas"
)

// Defaults of Options.
const (
	DefaultMaxBytes = 1 << 30
	// DefaultMinFree is what the rest of the machine needs to go on, and the
	// store to be compacted once it is drained.
	DefaultMinFree = 256 << 20
)

// entryOverhead is what an entry takes beside its record.
const entryOverhead = 128

var (
	// ErrFull is returned by Put if the entry would not fit.
	ErrFull = errors.New("spool is full")
	// ErrFailed is returned by everything but Close after the store has failed.
	ErrFailed = errors.New("spool has failed")
	// ErrLocked is returned by Open if the spool is open already, here or in
	// another process.
	ErrLocked = errors.New("spool is open in another process")
)

// Options are what Open needs.
type Options struct {
	// Dir is the spool's own directory; it is made if it is missing.
	Dir string
	// FS is where Dir is; nil means the operating system's.
	FS vfs.FS
	// MaxBytes bounds the entries together; zero means DefaultMaxBytes.
	MaxBytes int64
	// MinFree is what must stay free of the disk, in bytes; zero means
	// DefaultMinFree.
	MinFree int64
	// Now is the clock; nil means time.Now.
	Now    func() time.Time
	Logger *slog.Logger
}

// Event is what Put keeps.
type Event struct {
	Key     schemas.EventKey
	BodySum uint32    // schemas.BodySum of the body
	Arrived time.Time // when the event was received
	Record  []byte    // as schemas.AppendSpooled writes it
}

// Entry is an event in the spool. Its fields do not change.
type Entry struct {
	Key     schemas.EventKey
	BodySum uint32
	Arrived time.Time
	Size    int64 // of its record and what is kept with it, in bytes

	seq uint64
	// durable is closed when the entry is, or when it has failed (err).
	durable chan struct{}
	err     error

	refused atomic.Int32

	// Guarded by Spool.mu.
	waiting bool // nobody has it
	place   int  // in the queue, if it waits
}

// Refuse counts that the log refused the entry, in this process, and returns how
// often it has.
func (e *Entry) Refuse() int { return int(e.refused.Add(1)) }

// Spool is an open spool. It is safe for concurrent use; Close must come last.
type Spool struct {
	opts    Options
	log     *slog.Logger
	db      *pebble.DB
	lock    *pebble.Lock
	failure *failure

	mu      sync.Mutex
	next    uint64 // sequence number of the next entry
	entries map[schemas.EventKey]*Entry
	queue   queue // those that wait, oldest first
	bytes   int64
	aside   int64 // how many are set aside
	full    bool  // the last entry did not fit, and none has left since

	free      int64 // of the disk, as of freeAsked
	freeAsked time.Time
}

// Lookup returns the durable entry of an event, if there is one. An entry that
// is being written is waited for.
func (s *Spool) Lookup(key schemas.EventKey) (*Entry, bool) {
	s.mu.Lock()
	e := s.entries[key]
	s.mu.Unlock()
	if e == nil {
		return nil, false
	}
	<-e.durable
	return e, e.err == nil
}

// Peek is Lookup without waiting: an entry that is not durable yet is not found.
func (s *Spool) Peek(key schemas.EventKey) (*Entry, bool) {
	s.mu.Lock()
	e := s.entries[key]
	s.mu.Unlock()
	if e == nil {
		return nil, false
	}
	select {
	case <-e.durable:
		return e, e.err == nil
	default:
		return nil, false
	}
}

// Put keeps an event and returns its entry when that is durable. taken says that
// the caller has it in hand, as if by Take. If the event has an entry already,
// that one is returned, as it is.
func (s *Spool) Put(ev Event, taken bool) (*Entry, error) {
	s.mu.Lock()
	if e := s.entries[ev.Key]; e != nil {
		s.mu.Unlock()
		<-e.durable
		return e, e.err
	}
	e := &Entry{
		Key: ev.Key, BodySum: ev.BodySum, Arrived: ev.Arrived, Size: int64(len(ev.Record)) + entryOverhead,
		durable: make(chan struct{}), waiting: !taken,
	}
	if err := s.admit(e.Size); err != nil {
		s.mu.Unlock()
		return nil, err
	}
	e.seq = s.next
	s.next++
	s.entries[ev.Key] = e
	s.bytes += e.Size
	s.mu.Unlock()

	err := s.write(e, ev.Record)
	s.mu.Lock()
	e.err = err
	if err != nil {
		s.forget(e)
	} else if e.waiting {
		s.queue.push(e)
	}
	s.mu.Unlock()
	close(e.durable)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// admit reports whether there is room. The caller holds s.mu.
func (s *Spool) admit(size int64) error {
	if err := s.failure.err(); err != nil {
		return err
	}
	if s.bytes+size > s.opts.MaxBytes {
		s.full = true
		return fmt.Errorf("%w: %d of %d bytes are taken", ErrFull, s.bytes, s.opts.MaxBytes)
	}
	if now := s.opts.Now(); now.Sub(s.freeAsked) >= time.Second {
		usage, err := s.opts.FS.GetDiskUsage(s.opts.Dir)
		switch {
		case errors.Is(err, vfs.ErrUnsupported):
			s.free = math.MaxInt64
		case err != nil:
			return fmt.Errorf("ask for free disk space: %w", err)
		default:
			s.free = int64(usage.AvailBytes)
		}
		s.freeAsked = now
	}
	if s.free -= size; s.free < s.opts.MinFree {
		s.full = true
		return fmt.Errorf("%w: less than %d bytes of the disk are free", ErrFull, s.opts.MinFree)
	}
	s.full = false
	return nil
}

// Take hands out the oldest entry that nobody has.
func (s *Spool) Take() (*Entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.queue.pop()
	if e == nil {
		return nil, false
	}
	e.waiting = false
	return e, true
}

// Return gives back an entry that was taken: it is handed out again in its turn.
// One that waits already, or is gone, is left as it is.
func (s *Spool) Return(e *Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries[e.Key] != e || e.waiting {
		return
	}
	e.waiting = true
	s.queue.push(e)
}

// forget takes an entry out of what is kept in memory. The caller holds s.mu.
func (s *Spool) forget(e *Entry) {
	if s.entries[e.Key] != e {
		return
	}
	delete(s.entries, e.Key)
	s.bytes -= e.Size
	s.full = false
	if e.waiting {
		s.queue.remove(e)
		e.waiting = false
	}
}

// Stats is what an operator sees of the spool.
type Stats struct {
	Events   int   `json:"events"`
	Waiting  int   `json:"waiting"` // those of them that the producer does not have
	Bytes    int64 `json:"bytes"`
	MaxBytes int64 `json:"max_bytes"`
	// Full says that the last event did not fit, and none has left since.
	Full bool `json:"full"`
	// OldestAgeSeconds is how long ago the oldest waiting event was received.
	OldestAgeSeconds float64 `json:"oldest_age_seconds"`
	SetAside         int64   `json:"set_aside"`
	// Problem says why nothing can be spooled; "" if it can.
	Problem string `json:"problem,omitempty"`
}

// Stats returns the current figures.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{Events: len(s.entries), Waiting: s.queue.len(), Bytes: s.bytes, MaxBytes: s.opts.MaxBytes, Full: s.full, SetAside: s.aside}
	if e := s.queue.peek(); e != nil {
		st.OldestAgeSeconds = max(0, s.opts.Now().Sub(e.Arrived).Seconds())
	}
	if err := s.failure.err(); err != nil {
		st.Problem = err.Error()
	}
	return st
}
