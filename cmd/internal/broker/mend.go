package broker

import (
	"cmp"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// mend cuts off a torn write, completes the index and holds the place of
// offsets that were given out.
func (p *partition) mend(log *slog.Logger) error {
	if err := p.removeEmpty(); err != nil {
		return err
	}
	n := len(p.segments)
	if n > 0 && p.torn > 0 {
		s := &p.segments[n-1]
		log.Warn("cut off a write that was not finished when the process was killed; nobody was told of it",
			"topic", p.topic, "partition", p.number, "offset", p.end, "bytes", p.torn)
		if err := truncate(p.path(s.base, ".dat"), s.size); err != nil {
			return err
		}
		if s.size == 0 {
			p.segments = p.segments[:n-1]
			if err := p.removeEmpty(); err != nil {
				return err
			}
		}
	}
	switch {
	case len(p.segments) == 0:
		return p.holdPlace(log)
	case len(p.segments) < n:
		return nil // The one before was complete when the last was made.
	}
	return p.mendIndex(&p.segments[n-1])
}

func (p *partition) removeEmpty() error {
	names, err := filepath.Glob(filepath.Join(escapeGlob(p.dir), "*.dat"))
	if err != nil {
		return err
	}
	for _, name := range names {
		if info, err := os.Stat(name); err != nil || info.Size() > 0 {
			continue
		}
		index := strings.TrimSuffix(name, ".dat") + ".idx"
		if err := errors.Join(os.Remove(name), ignoreMissing(os.Remove(index))); err != nil {
			return err
		}
	}
	return nil
}

func (p *partition) mendIndex(s *segment) error {
	path := p.path(s.base, ".idx")
	got, err := os.ReadFile(path)
	if err := ignoreMissing(err); err != nil {
		return err
	}
	// Entries that are there stay: compaction clears the flag of transactions
	// that are over.
	want := slices.Clone(s.index)
	for at := 0; at+indexEntryBytes <= min(len(got), len(want)); at += indexEntryBytes {
		if e := got[at : at+indexEntryBytes]; validIndexEntry(e) {
			copy(want[at:], e)
		}
	}
	if slices.Equal(got, want) {
		return nil
	}
	return writeFile(path, want)
}

// holdPlace gives a partition whose records are all gone a batch without
// records before its end. kfake takes the end from the last batch, and would
// give out the same offsets again.
func (p *partition) holdPlace(log *slog.Logger) error {
	if p.floor == 0 {
		return nil
	}
	log.Warn("the partition has no records left, new ones follow the removed", "topic", p.topic, "partition", p.number, "offset", p.floor)
	p.epoch = p.old.Epoch
	b := emptyBatch(p.floor-1, p.epoch)
	h, err := parseBatch(b)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	s := segment{base: h.offset, size: h.size, minEpoch: h.epoch, maxEpoch: h.epoch, index: indexEntry(&h)}
	if err := errors.Join(writeFile(p.path(s.base, ".idx"), s.index), writeFile(p.path(s.base, ".dat"), b)); err != nil {
		return err
	}
	p.segments = append(p.segments, s)
	p.old.LogStartOffset = p.floor
	p.note(&h, b)
	return p.saveSnapshot()
}

// abortOpen ends the transactions that the kill left open.
func (p *partition) abortOpen() error {
	if len(p.open) == 0 {
		return nil
	}
	s := &p.segments[len(p.segments)-1]
	var data, index []byte
	for producer, t := range p.open {
		b := abortMarker(p.end, p.epoch, producer, t.epoch)
		h, err := parseBatch(b)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		p.note(&h, b)
		data, index = append(data, b...), append(index, indexEntry(&h)...)
	}
	// The index last: a kill in between leaves it short, which is mended.
	if err := appendFile(p.path(s.base, ".dat"), data); err != nil {
		return err
	}
	s.size += int64(len(data))
	return appendFile(p.path(s.base, ".idx"), index)
}

// saveSnapshot saves the partition as a clean stop would: no transaction is
// open.
func (p *partition) saveSnapshot() error {
	if len(p.segments) == 0 {
		return nil
	}
	slices.SortFunc(p.aborted, func(a, b abortedTxn) int { return cmp.Compare(a.LastOffset, b.LastOffset) })
	snap := snapshot{
		Version:          formatVersion,
		HighWatermark:    p.end,
		LastStableOffset: p.end,
		LogStartOffset:   min(max(p.old.LogStartOffset, p.segments[0].base), p.end),
		Epoch:            p.epoch,
		MaxTimestamp:     p.maxTime,
		CreatedAt:        p.old.CreatedAt,
		AbortedTxns:      p.aborted,
	}
	for _, s := range p.segments {
		snap.Segments = append(snap.Segments, snapshotSegment{BaseOffset: s.base, Size: s.size, MinEpoch: s.minEpoch, MaxEpoch: s.maxEpoch})
	}
	b, err := json.Marshal(snap)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(p.dir, "snapshot.json"), b)
}
