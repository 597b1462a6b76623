package demo

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"hooklog/consumers"
	"hooklog/schemas"
)

// journal is a file of JSON lines that is only ever appended to, and the
// memory of which events it holds.
//
// The simple idea: an event is done if and only if its line is on disk. What
// makes it hard is that many handlers write at once and an fsync takes as long
// as a hundred lines. So a line is written under mu, and then whoever comes
// first to flushing syncs for all that was written until then. The invariants:
//
//  1. Nobody is told "done" before a sync that began after the line was
//     written has succeeded, not even of a line that somebody else wrote.
//  2. The file ends with a whole line, or with the one that is being written.
//     What a crash left behind the last line feed is cut off on opening.
//  3. After a sync that failed nothing is done any more: the kernel may have
//     dropped the pages and would call the next sync a success.
type journal struct {
	file *os.File

	// flushing orders the syncs. It is taken before mu, never under it.
	flushing sync.Mutex
	synced   int64 // what is on disk, in bytes; guarded by flushing

	mu     sync.Mutex
	size   int64
	failed error
	// done maps events to the end of their line in the file.
	done map[schemas.EventKey]int64
}

// line is how an event is found again in a journal.
type line struct {
	Source schemas.SourceName `json:"source"`
	Event  schemas.EventID    `json:"event"`
}

// openJournal opens or makes <dir>/<name> and reads what was done.
func openJournal(dir, name string) (_ *journal, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if err := lock(f); err != nil {
		return nil, fmt.Errorf("open journal %s: %w", path, err)
	}
	j := &journal{file: f, done: map[schemas.EventKey]int64{}}
	if err := j.read(path); err != nil {
		return nil, err
	}
	// A killed process's lines may be in the page cache only.
	if err := f.Sync(); err != nil {
		return nil, fmt.Errorf("sync journal: %w", err)
	}
	j.synced = j.size
	return j, syncDir(dir)
}

// read takes in what is done and cuts off a line that was not finished.
func (j *journal) read(path string) error {
	r := bufio.NewReader(j.file)
	for n := 1; ; n++ {
		text, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			if len(text) == 0 {
				return nil
			}
			if err := j.file.Truncate(j.size); err != nil {
				return fmt.Errorf("cut off the unfinished line %d of %s: %w", n, path, err)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("read journal: %w", err)
		}
		var l line
		if err := json.Unmarshal(text, &l); err != nil || l.Event == "" || l.Source == "" {
			return fmt.Errorf("%s:%d is damaged: it names no event (move the file away to start over)", path, n)
		}
		j.size += int64(len(text))
		j.done[schemas.KeyOf(l.Source, l.Event)] = j.size
	}
}

// once appends what was done for an event, and returns when it is on disk. For
// an event that was done already it only waits for that. entry is a struct
// that embeds line; it is not kept.
func (j *journal) once(ev *schemas.Event, entry any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // People read it.
	if err := enc.Encode(entry); err != nil {
		return consumers.Permanent(fmt.Errorf("encode journal line: %w", err))
	}
	end, err := j.append(schemas.KeyOf(ev.Source, ev.ID), b.Bytes())
	if err != nil {
		return err
	}
	return j.flush(end)
}

// append returns where the event's line ends in the file.
func (j *journal) append(key schemas.EventKey, text []byte) (end int64, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failed != nil {
		return 0, j.failed
	}
	if end, ok := j.done[key]; ok {
		return end, nil
	}
	if _, err := j.file.Write(text); err != nil {
		err = fmt.Errorf("write journal: %w", err)
		// Half a line must not stay in the way of the next one.
		if cut := j.file.Truncate(j.size); cut != nil {
			j.failed = errors.Join(err, cut)
		}
		return 0, err
	}
	j.size += int64(len(text))
	j.done[key] = j.size
	return j.size, nil
}

// flush returns when the file is on disk up to an offset.
func (j *journal) flush(end int64) error {
	j.flushing.Lock()
	defer j.flushing.Unlock()
	if j.synced >= end {
		return nil
	}
	j.mu.Lock()
	size, failed := j.size, j.failed
	j.mu.Unlock()
	if failed != nil {
		return failed
	}
	if err := j.file.Sync(); err != nil {
		err = fmt.Errorf("sync journal: %w", err)
		j.mu.Lock()
		j.failed = err
		j.mu.Unlock()
		return err
	}
	j.synced = size
	return nil
}

// Close closes the file. What was reported as done is on disk already.
func (j *journal) Close() error { return j.file.Close() }

// syncDir makes a new file's name durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}
