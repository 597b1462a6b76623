package index

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"hooklog/schemas"
)

// DefaultWindow is how long an ID is remembered: longer than any provider goes
// on retrying.
const DefaultWindow = 30 * 24 * time.Hour

// futureSlack is how far ahead of our clock a record's time is believed
// (brokers refuse records more than an hour ahead).
const futureSlack = time.Hour

// Options are what Open needs.
type Options struct {
	// Dir is the index's own directory; it is made if it is missing.
	Dir string
	// FS is where Dir is; nil means the operating system's.
	FS vfs.FS
	// Window is how long an ID is remembered; zero means DefaultWindow.
	Window time.Duration
	// Now is the clock; nil means time.Now.
	Now    func() time.Time
	Logger *slog.Logger
}

// Index is an open index. It is safe for concurrent use; Close must come last.
type Index struct {
	db      *pebble.DB
	disk    vfs.FS
	dir     string
	lock    *pebble.Lock
	now     func() time.Time
	width   time.Duration
	window  time.Duration
	failure *failure
	log     *slog.Logger

	readOnly bool

	lifetime   context.Context // ends with Close
	end        context.CancelFunc
	background sync.WaitGroup // tidying; ends soon after lifetime

	// What lookups read, replaced whole.
	generations atomic.Pointer[[]*generation] // newest first
	topics      atomic.Pointer[map[TopicRef]topic]

	mu      sync.Mutex // one writer at a time
	oldest  uint32     // generations before it have been dropped
	newest  time.Time  // the latest record time, no later than now + futureSlack
	nextRef TopicRef
	tidying bool

	diskAsked time.Time // when checkDisk last asked

	// pending is written under mu and pendingMu, in this order, and read under
	// either.
	version atomic.Uint64 // from 1

	pendingMu sync.RWMutex
	pending   map[schemas.EventKey]pending
}

func (o *Options) setDefaults() {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Window == 0 {
		o.Window = DefaultWindow
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Open opens or makes the index. One that cannot be read, was made by another
// version or for another window is thrown away and made anew, with a warning:
// the log has it all. It returns an error that is ErrLocked if the index is
// open elsewhere.
func Open(o Options) (*Index, error) {
	o.setDefaults()
	if err := o.FS.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make index directory: %w", err)
	}
	// The lock lies beside the store, which may be thrown away while it is
	// held.
	lock, err := lockDir(&o)
	if err != nil {
		return nil, err
	}
	x, err := openStore(&o, false)
	if err != nil && disposable(err) {
		o.Logger.Warn("index cannot be used and is made anew from the log", "dir", o.Dir, "err", err)
		if err := removeStore(&o); err != nil {
			return nil, errors.Join(fmt.Errorf("remove the unusable index: %w", err), lock.Close())
		}
		x, err = openStore(&o, false)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open index %s: %w", o.Dir, err), lock.Close())
	}
	x.lock = lock
	return x, nil
}

// OpenReadOnly opens an index as it is, to look at it: what would change it
// must not be called. The window is the one that it was made for. One that
// cannot be read, which Open would make anew, is an error that Unusable
// recognises; one that is not there is fs.ErrNotExist.
func OpenReadOnly(o Options) (*Index, error) {
	o.setDefaults()
	if _, err := o.FS.Stat(storeDir(&o)); err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	lock, err := lockDir(&o)
	if err != nil {
		return nil, err
	}
	x, err := openStore(&o, true)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open index %s: %w", o.Dir, err), lock.Close())
	}
	x.lock = lock
	return x, nil
}

// Unusable reports whether an error of OpenReadOnly means that Open would throw
// the index away and make it anew.
func Unusable(err error) bool { return err != nil && !errors.Is(err, ErrLocked) && disposable(err) }

// Free reports whether nobody has an index open: nil, or an error that is
// ErrLocked if somebody does. One that is not there is free.
func Free(o Options) error {
	o.setDefaults()
	if _, err := o.FS.Stat(o.Dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	lock, err := lockDir(&o)
	if err != nil {
		return err
	}
	return lock.Close()
}

// Remove throws an index away. It is made anew by the next Open.
func Remove(o Options) error {
	o.setDefaults()
	if _, err := o.FS.Stat(o.Dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	lock, err := lockDir(&o)
	if err != nil {
		return err
	}
	return errors.Join(removeStore(&o), lock.Close())
}

// Close writes what is pending and closes the index. No other call may be under
// way or follow.
func (x *Index) Close() error {
	x.end()
	x.background.Wait()
	var err error
	if !x.readOnly && x.failure.err() == nil {
		x.mu.Lock()
		if err = x.write(nil); err == nil {
			err = x.saveAll()
		}
		x.mu.Unlock()
	}
	select {
	case <-x.failure.gone: // To close the store might wait for ever.
		return errors.Join(err, x.lock.Close())
	default:
		return errors.Join(err, x.db.Close(), x.lock.Close())
	}
}

// Window is how long an ID is remembered.
func (x *Index) Window() time.Duration { return x.window }

// Stats is what an operator sees of the index.
type Stats struct {
	// WindowSeconds is how long an ID is remembered.
	WindowSeconds float64 `json:"window_seconds"`
	IDs           int64   `json:"ids"`     // within all generations that are kept
	Pending       int     `json:"pending"` // facts that are not written yet
	Generations   int     `json:"generations"`
	FilterBytes   int     `json:"filter_bytes"`
	DiskBytes     uint64  `json:"disk_bytes"`
}

// Stats returns the current figures.
func (x *Index) Stats() Stats {
	s := Stats{WindowSeconds: x.window.Seconds(), DiskBytes: x.db.Metrics().DiskSpaceUsage()}
	x.pendingMu.RLock()
	s.Pending = len(x.pending)
	x.pendingMu.RUnlock()
	for _, g := range *x.generations.Load() {
		s.IDs += g.ids.Load()
		s.Generations++
		s.FilterBytes += g.filter.Load().bytes()
	}
	return s
}
