package index

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"hooklog/schemas"
)

// blockCacheBytes is the memory for what is read from disk. Nearly every lookup
// ends in the filters; only duplicates and false answers get here.
const blockCacheBytes = 64 << 20

// l0Tables are gathered before they are merged. With the default of four the
// merging costs more processor time than all the rest of a fact.
const l0Tables = 32

// ErrLocked is returned by Open if the index is open already, here or in
// another process.
var ErrLocked = errors.New("index is open in another process")

// errUnusable marks a store that can be opened but is not what is asked for, or
// was found damaged.
var errUnusable = errors.New("unusable")

func lockDir(o *Options) (*pebble.Lock, error) {
	lock, err := pebble.LockDirectory(o.Dir, o.FS)
	if err == nil {
		return lock, nil
	}
	// A lock file that cannot be made is another matter than one that is held.
	if pathErr := new(fs.PathError); errors.As(err, &pathErr) {
		return nil, fmt.Errorf("lock index %s: %w", o.Dir, err)
	}
	return nil, fmt.Errorf("%w: lock %s: %w", ErrLocked, o.Dir, err)
}

func storeDir(o *Options) string { return filepath.Join(o.Dir, "facts") }

// damagedFile is made beside a store in which damage was found while it was in
// use: damage that reading the store at the next start would not meet.
func damagedFile(o *Options) string { return filepath.Join(o.Dir, "DAMAGED") }

// disposable reports whether an error of open lies in the store and not in the
// machine: no permission, no space or no descriptors would meet a new store as
// well. A file that is missing is a damaged store; its directory was there.
func disposable(err error) bool {
	if pebble.IsCorruptionError(err) || errors.Is(err, errUnusable) || errors.Is(err, fs.ErrNotExist) {
		return true
	}
	return !errors.As(err, new(syscall.Errno))
}

// removeStore throws the store away. The removal is made durable before
// anything is made in its place, so that a crash leaves no mixture.
func removeStore(o *Options) error {
	if err := o.FS.RemoveAll(storeDir(o)); err != nil {
		return err
	}
	if err := o.FS.Remove(damagedFile(o)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir, err := o.FS.OpenDir(o.Dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// openStore opens or makes the store and reads what is kept in memory.
func openStore(o *Options, readOnly bool) (*Index, error) {
	if _, err := o.FS.Stat(damagedFile(o)); err == nil {
		return nil, fmt.Errorf("%w: damage was found when it was last in use", errUnusable)
	}
	if err := checkManifest(o); err != nil {
		return nil, err
	}
	cache := pebble.NewCache(blockCacheBytes)
	defer cache.Unref()
	f := &failure{log: o.Logger, gone: make(chan struct{}), mark: func() error {
		file, err := o.FS.Create(damagedFile(o), vfs.WriteCategoryUnspecified)
		if err != nil {
			return err
		}
		return file.Close()
	}}
	opts := &pebble.Options{
		FS:                 o.FS,
		Cache:              cache,
		FormatMajorVersion: pebble.FormatNewest,
		Logger:             pebbleLogger{f},
		ReadOnly:           readOnly,
		// A batch of pendingLimit facts is larger than half of it and is taken as
		// it is, sorted once, instead of being inserted fact by fact.
		MemTableSize: 8 << 20,
		// Each table of L0 spans a whole generation, so merging them costs the
		// same for few as for many; a fact is looked up too seldom to care in how
		// many of them it is looked for.
		L0CompactionThreshold: l0Tables, L0StopWritesThreshold: 4 * l0Tables,
		// One level below L0: with more of them every fact is merged once for each.
		LBaseMaxBytes: 1 << 40,
		// Memtables queue up while a flush is slow; writes wait only then.
		MemTableStopWritesThreshold: 4,
		EventListener: &pebble.EventListener{
			BackgroundError: f.background,
			// Without it Pebble calls Fatalf, at the first read after each
			// start again.
			DataCorruption: func(info pebble.DataCorruptionInfo) { f.damaged(info.Details) },
		},
	}
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		// Hashes do not get smaller, and unpacking was most of a duplicate.
		opts.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
	}
	type opened struct {
		index *Index
		err   error
	}
	done := make(chan opened, 1)
	go func() {
		x, err := loadStore(o, opts, f)
		done <- opened{x, err}
	}()
	select {
	case r := <-done:
		return r.index, r.err
	case <-f.gone:
		return nil, f.err()
	}
}

func loadStore(o *Options, opts *pebble.Options, f *failure) (*Index, error) {
	db, err := pebble.Open(storeDir(o), opts)
	if err != nil {
		return nil, err
	}
	x := &Index{
		db: db, disk: o.FS, dir: o.Dir, now: o.Now, window: o.Window, width: generationWidth(o.Window), failure: f, log: o.Logger,
		readOnly: opts.ReadOnly, pending: make(map[schemas.EventKey]pending),
	}
	x.version.Store(1)
	x.lifetime, x.end = context.WithCancel(context.Background())
	if err := x.load(); err != nil {
		x.end()
		return nil, errors.Join(err, db.Close())
	}
	return x, nil
}

// checkManifest reads the list of the store's files to its end. Pebble takes
// damage in it for the end, and then does not know the files that come after,
// and the facts in them, while checkpoints in the write-ahead log may already
// stand for those.
func checkManifest(o *Options) error {
	desc, err := pebble.Peek(storeDir(o), o.FS)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !desc.Exists {
		return nil // a new store
	}
	if err != nil {
		return err
	}
	file, err := o.FS.Open(desc.ManifestFilename)
	if err != nil {
		return err
	}
	r := record.NewReader(file, 0)
	for err == nil {
		var edit io.Reader
		if edit, err = r.Next(); err == nil {
			_, err = io.Copy(io.Discard, edit)
		}
	}
	if !errors.Is(err, io.EOF) {
		return errors.Join(fmt.Errorf("%w: read %s: %w", errUnusable, desc.ManifestFilename, err), file.Close())
	}
	return file.Close()
}

// failure remembers the first reason for which the store can no longer be
// trusted. From then on it takes nothing, and "not known" is not answered.
type failure struct {
	log   *slog.Logger
	mark  func() error // makes the next start throw the store away
	first atomic.Pointer[error]
	once  sync.Once
	gone  chan struct{} // closed when the store does not answer any more
}

func (f *failure) err() error {
	if p := f.first.Load(); p != nil {
		return *p
	}
	return nil
}

// lost latches the end of a store that may hold locks for good.
func (f *failure) lost(err error) {
	f.latch(err)
	f.once.Do(func() { close(f.gone) })
}

func (f *failure) latch(err error) {
	f.first.CompareAndSwap(nil, &err)
}

// damaged latches damage in the store's files.
func (f *failure) damaged(err error) {
	if f.err() == nil {
		f.log.Error("index store is damaged: it is made anew from the log at the next start", "err", err)
		if err := f.mark(); err != nil {
			f.log.Error("cannot note that the index store is damaged", "err", err)
		}
	}
	f.latch(fmt.Errorf("index: damaged: %w", err))
}

// background is told of errors in Pebble's own goroutines, which it tries
// again. A flush that fails time and again would in the end block every write.
func (f *failure) background(err error) {
	if pebble.IsCorruptionError(err) {
		f.damaged(err)
		return
	}
	if f.err() == nil { // Pebble tries without a pause.
		f.log.Error("index store cannot be written", "err", err)
	}
	f.latch(fmt.Errorf("index: write in the background: %w", err))
}

// commit writes a batch, without waiting for the disk, and closes it. Where Pebble
// meets an error that it cannot handle it may never come back, nor may whoever
// closes it.
func (x *Index) commit(what string, b *pebble.Batch) error {
	if err := x.checkDisk(); err != nil {
		return errors.Join(err, b.Close())
	}
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				x.failure.lost(fmt.Errorf("index: %s: store has panicked: %v", what, p))
			}
		}()
		err := b.Commit(pebble.NoSync)
		done <- errors.Join(err, b.Close())
	}()
	stuck := time.NewTimer(stuckAfter)
	defer stuck.Stop()
	select {
	case err := <-done:
		if err != nil {
			return x.failed(what, err)
		}
	case <-x.failure.gone:
	case <-stuck.C:
		x.failure.lost(fmt.Errorf("index: %s: the store has not answered for %v", what, stuckAfter))
	}
	return x.failure.err()
}

// checkDisk fails the store while there is still some room on the disk: where
// there is none Pebble ends the process without a word.
func (x *Index) checkDisk() error {
	now := time.Now()
	if now.Sub(x.diskAsked) < time.Second {
		return x.failure.err()
	}
	x.diskAsked = now
	usage, err := x.disk.GetDiskUsage(x.dir)
	if err == nil && usage.AvailBytes < minFree {
		x.failure.latch(fmt.Errorf("index: the disk is full: %d bytes are free, want at least %d: %w", usage.AvailBytes, minFree, syscall.ENOSPC))
	}
	return x.failure.err() // A disk that does not say is asked by writing.
}

// minFree is what a flush, a merge and the log of a while need.
const minFree = 64 << 20

// stuckAfter is when a store that does not take a batch counts as failed. It
// makes writers wait while its flushes are slow, but not for so long.
const stuckAfter = time.Minute

// failed is called with each error of the store.
func (x *Index) failed(what string, err error) error {
	err = fmt.Errorf("index: %s: %w", what, err)
	if pebble.IsCorruptionError(err) {
		x.failure.damaged(err)
	}
	return err
}

// pebbleLogger sends Pebble's words to slog.
type pebbleLogger struct{ failure *failure }

// Infof implements pebble.Logger. Compactions and flushes are of no use to an
// operator.
func (l pebbleLogger) Infof(string, ...any) {}

// Errorf implements pebble.Logger.
func (l pebbleLogger) Errorf(format string, args ...any) {
	l.failure.log.Error("index store", "err", fmt.Sprintf(format, args...))
}

// Fatalf implements pebble.Logger. It must not return: Pebble would go on and
// acknowledge what it could not write. The goroutine ends; whoever waits for it
// finds that the index takes and answers nothing any more.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	err := fmt.Errorf("index: store failed: "+format, args...)
	l.failure.log.Error("index store failed", "err", err)
	l.failure.lost(err)
	runtime.Goexit()
}
