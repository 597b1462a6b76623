package file

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"hooklog/consumers"
	"hooklog/schemas"
)

// Sink writes the events of its partitions to files. Make it with New, close
// it after the group's Run. Its methods are not safe for concurrent use, and
// are not called so.
type Sink struct {
	opts Options
	lock *os.File
	// parts are the assigned partitions; nil after an error, when nothing of
	// what was written is trusted.
	parts map[consumers.TopicPartition]*openFile
	line  []byte
	// step is called before each step that a crash could divide from the
	// next; a test's error stops the sink there.
	step func(string) error
}

var (
	_ consumers.Sink  = (*Sink)(nil)
	_ consumers.Pacer = (*Sink)(nil)
)

// openFile is a partition's unfinished file; f is nil while there is none.
type openFile struct {
	name  string // finished
	f     *os.File
	w     *bufio.Writer
	bytes int64
	begun time.Time
}

var errClosed = errors.New("file sink is closed")

// New makes the folder and locks it. It returns an error if the options are
// wrong, or another sink has the folder.
func New(o Options) (*Sink, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	l, err := lock(o.Dir)
	if err != nil {
		return nil, err
	}
	return &Sink{opts: o, lock: l, step: func(string) error { return nil }}, nil
}

// Close releases the folder. What was not flushed stays unfinished, and is
// deleted on the next assignment.
func (s *Sink) Close() error {
	if s.lock == nil {
		return errClosed
	}
	err := errors.Join(s.abandon(), s.lock.Close())
	s.lock = nil
	return err
}

// Assigned begins with partitions that are new, and drops what was not flushed
// of those that are gone. For a new one it deletes what may not stay: see the
// package comment.
func (s *Sink) Assigned(ctx context.Context, start consumers.Offsets) (consumers.Offsets, error) {
	if s.lock == nil {
		return nil, errClosed
	}
	parts := make(map[consumers.TopicPartition]*openFile, len(start))
	fresh := make(consumers.Offsets)
	for tp, offset := range start {
		if o := s.parts[tp]; o != nil {
			parts[tp] = o
			continue
		}
		parts[tp] = &openFile{}
		fresh[tp] = offset
	}
	for tp, o := range s.parts {
		if parts[tp] == nil {
			if err := s.discard(o); err != nil {
				return nil, s.fail(err)
			}
		}
	}
	if len(fresh) > 0 {
		if err := s.clean(ctx, fresh); err != nil {
			return nil, s.fail(fmt.Errorf("clean folder: %w", err))
		}
	}
	s.parts = parts
	return start, nil
}

// clean deletes, of these partitions, unfinished files and those that begin at
// or beyond the offset.
func (s *Sink) clean(ctx context.Context, start consumers.Offsets) error {
	entries, err := os.ReadDir(s.opts.Dir)
	if err != nil {
		return err
	}
	deleted := 0
	for _, e := range entries {
		tp, first, unfinished, ok := parseName(e.Name())
		offset, assigned := start[tp]
		if !ok || !assigned || !unfinished && first < offset {
			continue
		}
		if err := s.step("delete " + e.Name()); err != nil {
			return err
		}
		if err := os.Remove(filepath.Join(s.opts.Dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		deleted++
		s.opts.Logger.InfoContext(ctx, "deleted a file whose events were not committed and come again", "file", e.Name(), "offset", offset)
	}
	if deleted == 0 {
		return nil
	}
	return s.syncDir()
}

// Write appends events to the files of their partitions.
func (s *Sink) Write(_ context.Context, events []schemas.Event) error {
	for i := range events {
		if err := s.write(&events[i]); err != nil {
			return s.fail(err)
		}
	}
	return nil
}

func (s *Sink) write(e *schemas.Event) error {
	o := s.parts[consumers.TopicPartition{Topic: e.Position.Topic, Partition: e.Position.Partition}]
	if o == nil {
		return fmt.Errorf("event %s is not of an assigned partition", e.Position)
	}
	if o.f == nil {
		name := finishedName(consumers.TopicPartition{Topic: e.Position.Topic, Partition: e.Position.Partition}, e.Position.Offset)
		if err := s.step("create " + partName(name)); err != nil {
			return err
		}
		f, err := os.OpenFile(s.path(partName(name)), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
		if err != nil {
			return err
		}
		*o = openFile{name: name, f: f, w: bufio.NewWriterSize(f, 64<<10), begun: time.Now()}
	}
	line, err := schemas.AppendJSON(s.line[:0], e)
	if err != nil {
		return err
	}
	s.line = append(line, '\n')
	n, err := o.w.Write(s.line)
	o.bytes += int64(n)
	return err
}

// FlushBy returns when the partition's file is finished at the latest; at once
// where it has reached its size.
func (s *Sink) FlushBy(tp consumers.TopicPartition) time.Time {
	o := s.parts[tp]
	switch {
	case o == nil || o.f == nil:
		return time.Time{}
	case o.bytes >= s.opts.RollBytes:
		return o.begun
	}
	return o.begun.Add(s.opts.RollAfter)
}

// Flush finishes the files of these partitions.
func (s *Sink) Flush(ctx context.Context, upTo consumers.Offsets) error {
	if s.lock == nil {
		return errClosed
	}
	var open []*openFile
	for tp := range upTo {
		if o := s.parts[tp]; o == nil {
			return s.fail(fmt.Errorf("partition %s/%d is not assigned", tp.Topic, tp.Partition))
		} else if o.f != nil {
			open = append(open, o)
		}
	}
	if len(open) == 0 {
		return nil
	}
	slices.SortFunc(open, func(a, b *openFile) int { return strings.Compare(a.name, b.name) })
	for _, o := range open {
		if err := s.finish(ctx, o); err != nil {
			return s.fail(fmt.Errorf("finish %s: %w", o.name, err))
		}
	}
	if err := s.syncDir(); err != nil {
		return s.fail(err)
	}
	return nil
}

// finish makes one file durable and visible.
func (s *Sink) finish(ctx context.Context, o *openFile) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, do := range []struct {
		step string
		f    func() error
	}{
		{"write ", o.w.Flush},
		{"sync ", o.f.Sync}, // A failed sync is not tried again: the kernel may have dropped the pages.
		{"close ", o.f.Close},
		{"rename ", func() error { return os.Rename(s.path(partName(o.name)), s.path(o.name)) }},
	} {
		if err := s.step(do.step + o.name); err != nil {
			return err
		}
		if err := do.f(); err != nil {
			return err
		}
	}
	*o = openFile{}
	return nil
}

func (s *Sink) syncDir() error {
	if err := s.step("sync folder"); err != nil {
		return err
	}
	d, err := os.Open(s.opts.Dir)
	if err != nil {
		return err
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}

// discard deletes an unfinished file.
func (s *Sink) discard(o *openFile) error {
	if o.f == nil {
		return nil
	}
	name := partName(o.name)
	_ = o.f.Close() // Closed already where finishing it failed; its content goes anyway.
	*o = openFile{}
	if err := s.step("delete " + name); err != nil {
		return err
	}
	if err := os.Remove(s.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// fail forgets all partitions: what was written of them comes again.
func (s *Sink) fail(err error) error {
	_ = s.abandon() // Left-overs are deleted on the next assignment.
	return err
}

func (s *Sink) abandon() error {
	var errs []error
	for _, o := range s.parts {
		errs = append(errs, s.discard(o))
	}
	s.parts = nil
	return errors.Join(errs...)
}

func (s *Sink) path(name string) string { return filepath.Join(s.opts.Dir, name) }
