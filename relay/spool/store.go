package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"hooklog/schemas"
)

// Layout of the store, version 1. All integers are big-endian.
//
//	e <seq u64> -> key [16], body sum u32, arrived ns i64, record
//	m           -> version u32
//	x <seq u64> -> length of the reason u32, reason, then as e
const (
	kindEntry = 'e'
	kindMeta  = 'm'
	kindAside = 'x'

	layoutVersion = 1
	entryKeySize  = 1 + 8
	entryHead     = 16 + 4 + 8
)

// stuckAfter is when a disk that does not finish an fsync counts as failed.
const stuckAfter = 10 * time.Second

// Open opens or makes the spool and reads what it holds: all of it waits to be
// taken. A store that cannot be read is never made anew.
func Open(o Options) (*Spool, error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.MinFree == 0 {
		o.MinFree = DefaultMinFree
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := makeDir(o.FS, o.Dir); err != nil {
		return nil, fmt.Errorf("make spool directory: %w", err)
	}
	lock, err := lockDir(&o)
	if err != nil {
		return nil, err
	}
	s := &Spool{opts: o, log: o.Logger, lock: lock, entries: make(map[schemas.EventKey]*Entry)}
	if err := s.open(); err != nil {
		return nil, errors.Join(fmt.Errorf(
			"open spool %s: %w (it holds events that were acknowledged and are not in the log: mend it, or move the folder away to keep them for later)", o.Dir, err),
			lock.Close())
	}
	return s, nil
}

// makeDir makes a directory that stays: a new one is durable only when its
// parent is synced. Others may have made the parents a moment ago, so all are;
// those that we must not read are not ours.
func makeDir(disk vfs.FS, dir string) error {
	if err := disk.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for parent := filepath.Dir(dir); ; parent = filepath.Dir(parent) {
		d, err := disk.OpenDir(parent)
		if errors.Is(err, fs.ErrPermission) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil {
			return err
		}
		if parent == filepath.Dir(parent) {
			return nil
		}
	}
}

func lockDir(o *Options) (*pebble.Lock, error) {
	lock, err := pebble.LockDirectory(o.Dir, o.FS)
	if err == nil {
		return lock, nil
	}
	// A lock file that cannot be made is another matter than one that is held.
	if pathErr := new(fs.PathError); errors.As(err, &pathErr) {
		return nil, fmt.Errorf("lock spool %s: %w", o.Dir, err)
	}
	return nil, fmt.Errorf("%w: lock %s: %w", ErrLocked, o.Dir, err)
}

// open opens the store on a file system of its own and takes over what it holds.
func (s *Spool) open() error {
	f := &failure{log: s.log, failed: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- guarded(func() error { return s.openStore(f) }) }()
	select {
	case err := <-done:
		return err
	case <-f.failed:
		return f.err()
	}
}

func (s *Spool) openStore(f *failure) error {
	disk := unlocked{errorfs.Wrap(s.opts.FS, errorfs.InjectorFunc(func(errorfs.Op) error { return f.fence() }))}
	db, err := pebble.Open(filepath.Join(s.opts.Dir, "entries"), &pebble.Options{
		FS:                 disk,
		FormatMajorVersion: pebble.FormatNewest,
		Logger:             pebbleLogger{f},
		MemTableSize:       8 << 20,
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { f.latch(fmt.Errorf("write in the background: %w", err)) },
			DataCorruption:  func(info pebble.DataCorruptionInfo) { f.latch(fmt.Errorf("damaged: %w", info.Details)) },
		},
	})
	if err != nil {
		return err
	}
	if err := s.load(db, f); err != nil {
		return errors.Join(err, db.Close())
	}
	return nil
}

// load reads the store and makes it the spool's. Entries that somebody has
// stay with them.
func (s *Spool) load(db *pebble.DB, f *failure) (err error) {
	meta, closer, err := db.Get([]byte{kindMeta})
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		if err := db.Set([]byte{kindMeta}, binary.BigEndian.AppendUint32(nil, layoutVersion), pebble.Sync); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		known := len(meta) == 4 && binary.BigEndian.Uint32(meta) == layoutVersion
		if err := closer.Close(); err != nil {
			return err
		}
		if !known {
			return fmt.Errorf("it has layout %x, want version %d", meta, layoutVersion)
		}
	}
	found := make(map[schemas.EventKey]*Entry)
	var next uint64
	var bytes, aside int64
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{kindEntry}, UpperBound: []byte{kindAside + 1}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.First(); it.Valid(); it.Next() {
		k, v := it.Key(), it.Value()
		if k[0] == kindMeta {
			continue
		}
		if len(k) != entryKeySize {
			return fmt.Errorf("malformed entry %x", k)
		}
		next = max(next, binary.BigEndian.Uint64(k[1:])+1)
		if k[0] == kindAside {
			aside++
			continue
		}
		e, ok := parseEntry(k, v)
		if !ok {
			return fmt.Errorf("malformed entry %x", k)
		}
		if old := found[e.Key]; old != nil {
			continue // The younger copy of one that was written twice around a failure.
		}
		found[e.Key] = e
		bytes += e.Size
	}
	if err := it.Error(); err != nil {
		return err
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = queue{}
	for key, e := range found {
		if old := s.entries[key]; old != nil && old.seq == e.seq && !old.waiting {
			found[key] = old
			continue
		}
		e.waiting = true
		s.queue.push(e)
	}
	s.db, s.failure = db, f
	s.entries, s.bytes, s.aside = found, bytes, aside
	s.next = max(s.next, next)
	return nil
}

var durable = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func entryKey(kind byte, seq uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind}, seq)
}

func appendEntry(dst []byte, e *Entry, record []byte) []byte {
	dst = append(dst, e.Key[:]...)
	dst = binary.BigEndian.AppendUint32(dst, e.BodySum)
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.Arrived.UnixNano()))
	return append(dst, record...)
}

func parseEntry(k, v []byte) (*Entry, bool) {
	if len(v) < entryHead {
		return nil, false
	}
	return &Entry{
		Key: schemas.EventKey(v[:16]), BodySum: binary.BigEndian.Uint32(v[16:]),
		Arrived: time.Unix(0, int64(binary.BigEndian.Uint64(v[20:]))).UTC(), Size: int64(len(v)-entryHead) + entryOverhead,
		seq: binary.BigEndian.Uint64(k[1:]), durable: durable,
	}, true
}

// store returns the open store.
func (s *Spool) store() (*pebble.DB, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.db, s.failure
}

// write makes an entry durable. Pebble syncs what comes at the same time
// together.
func (s *Spool) write(e *Entry, record []byte) error {
	db, f := s.store()
	return f.run("write entry", func() error {
		b := db.NewBatch()
		if err := b.Set(entryKey(kindEntry, e.seq), appendEntry(make([]byte, 0, entryHead+len(record)), e, record), nil); err != nil {
			return err
		}
		if err := db.ApplyNoSyncWait(b, pebble.Sync); err != nil {
			return err
		}
		if err := b.SyncWait(); err != nil {
			return err
		}
		return b.Close()
	})
}

// Read returns an entry's record.
func (s *Spool) Read(e *Entry) (record []byte, err error) {
	db, f := s.store()
	err = f.run("read entry", func() error {
		v, closer, err := db.Get(entryKey(kindEntry, e.seq))
		if err != nil {
			return err
		}
		if len(v) < entryHead {
			return errors.Join(fmt.Errorf("malformed entry %d", e.seq), closer.Close())
		}
		record = append([]byte(nil), v[entryHead:]...)
		return closer.Close()
	})
	return record, err
}

// Delete removes entries whose events the log holds.
func (s *Spool) Delete(entries ...*Entry) error {
	db, f := s.store()
	err := f.run("delete entries", func() error {
		b := db.NewBatch()
		for _, e := range entries {
			if err := b.Delete(entryKey(kindEntry, e.seq), nil); err != nil {
				return err
			}
		}
		if err := b.Commit(pebble.NoSync); err != nil {
			return err
		}
		return b.Close()
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		s.forget(e)
	}
	return nil
}

// SetAside keeps an entry that cannot be written to the log where it is not
// handed out any more.
func (s *Spool) SetAside(e *Entry, reason string) error {
	db, f := s.store()
	err := f.run("set entry aside", func() error {
		v, closer, err := db.Get(entryKey(kindEntry, e.seq))
		if err != nil {
			return err
		}
		kept := binary.BigEndian.AppendUint32(nil, uint32(len(reason)))
		kept = append(append(kept, reason...), v...)
		b := db.NewBatch()
		err = errors.Join(b.Set(entryKey(kindAside, e.seq), kept, nil), b.Delete(entryKey(kindEntry, e.seq), nil), closer.Close())
		if err != nil {
			return err
		}
		if err := b.Commit(pebble.Sync); err != nil {
			return err
		}
		return b.Close()
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(e)
	s.aside++
	return nil
}

// Failed is closed when the store has failed; see Reopen.
func (s *Spool) Failed() <-chan struct{} {
	_, f := s.store()
	return f.failed
}

// Reopen opens a store that has failed anew, once the disk takes writes again,
// and reads it: what was acknowledged is there, and what was not may be. The
// entries that somebody has stay with them, all others wait.
func (s *Spool) Reopen() error {
	_, f := s.store()
	if f.err() == nil {
		return nil
	}
	if err := s.probe(); err != nil {
		return fmt.Errorf("reopen spool: the disk: %w", err)
	}
	// The failed store is left as it is: it may hold locks that nobody will
	// release. Its file system refuses everything, so it changes nothing.
	if err := s.open(); err != nil {
		return fmt.Errorf("reopen spool: %w", err)
	}
	s.log.Info("spool is open again")
	return nil
}

// probe tries whether the disk takes a write and an fsync.
func (s *Spool) probe() error {
	name := filepath.Join(s.opts.Dir, "probe")
	file, err := s.opts.FS.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = file.Write(make([]byte, 4096))
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close(), s.opts.FS.Remove(name))
}

// Close closes the spool. No other call may be under way or follow.
func (s *Spool) Close() error {
	if s.failure.err() != nil {
		return s.lock.Close() // See Reopen.
	}
	return errors.Join(guarded(s.db.Close), s.lock.Close())
}
