package broker

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A partition is one partition's log as it stands on disk.
type partition struct {
	dir    string
	topic  string
	number int32
	floor  int64 // offsets below it were given out
	gaps   bool  // offsets may be missing
	clean  bool  // the last stop was a clean one

	segments []segment
	end      int64 // the next offset
	epoch    int32
	maxTime  int64
	old      snapshot
	torn     int64 // bytes after the last whole batch

	open    map[int64]openTxn    // by producer
	windows map[int64]*seqWindow // by producer
	aborted []abortedTxn
}

type segment struct {
	base, size         int64
	minEpoch, maxEpoch int32
	// index is what the index file should hold, for the last segment only:
	// a kill can leave no other one short.
	index []byte
}

type openTxn struct {
	first int64
	epoch int16
}

// snapshot is what kfake saves of a partition at a clean stop.
type snapshot struct {
	Version          int               `json:"version"`
	HighWatermark    int64             `json:"high_watermark"`
	LastStableOffset int64             `json:"last_stable_offset"`
	LogStartOffset   int64             `json:"log_start_offset"`
	Epoch            int32             `json:"epoch"`
	MaxTimestamp     int64             `json:"max_timestamp"`
	CreatedAt        json.RawMessage   `json:"created_at,omitempty"`
	AbortedTxns      []abortedTxn      `json:"aborted_txns,omitempty"`
	Segments         []snapshotSegment `json:"segments"`
}

type abortedTxn struct {
	ProducerID  int64 `json:"producer_id"`
	FirstOffset int64 `json:"first_offset"`
	LastOffset  int64 `json:"last_offset"`
}

type snapshotSegment struct {
	BaseOffset int64 `json:"base_offset"`
	Size       int64 `json:"size"`
	MinEpoch   int32 `json:"min_epoch,omitempty"`
	MaxEpoch   int32 `json:"max_epoch,omitempty"`
}

func (p *partition) path(base int64, ext string) string {
	return filepath.Join(p.dir, strconv.FormatInt(base, 10)+ext)
}

// read reads every batch of the log. It changes nothing.
func (p *partition) read() error {
	p.open, p.windows = make(map[int64]openTxn), make(map[int64]*seqWindow)
	if err := p.readSnapshot(); err != nil {
		return err
	}
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return err
	}
	var bases []int64
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".dat")
		base, err := strconv.ParseInt(name, 10, 64)
		if !ok || err != nil {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if info.Size() == 0 {
			p.floor = max(p.floor, base) // Made, and then killed before the first write.
			continue
		}
		bases = append(bases, base)
	}
	slices.Sort(bases)
	var buf []byte
	for i, base := range bases {
		if i > 0 && p.torn > 0 {
			return damaged(p.path(bases[i-1], ".dat"), p.segments[i-1].size, "it ends within a batch, and there are later ones")
		}
		if buf, err = p.readSegment(base, i == len(bases)-1, buf); err != nil {
			return err
		}
	}
	if n := len(p.segments); n > 0 && p.segments[n-1].size == 0 { // Nothing but a torn write.
		p.floor = max(p.floor, p.segments[n-1].base)
	}
	return p.compare()
}

// compare holds what was read against what the last clean stop saved.
func (p *partition) compare() error {
	if p.end > 0 && p.end < p.old.HighWatermark {
		return damaged(p.dir, 0, "it ends at offset %d and held offset %d when it was last closed", p.end, p.old.HighWatermark-1)
	}
	if !p.clean {
		return nil // Records may have been removed since, as well as added.
	}
	got := make([]snapshotSegment, 0, len(p.segments))
	for i, s := range p.segments {
		if s.size > 0 && p.torn == 0 || i < len(p.segments)-1 {
			got = append(got, snapshotSegment{BaseOffset: s.base, Size: s.size})
		}
	}
	same := func(a, b snapshotSegment) bool { return a.BaseOffset == b.BaseOffset && a.Size == b.Size }
	if !slices.EqualFunc(got, p.old.Segments, same) {
		return damaged(p.dir, 0, "its segments are not those of when it was last closed")
	}
	return nil
}

func (p *partition) readSnapshot() error {
	path := filepath.Join(p.dir, "snapshot.json")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, &p.old); err != nil {
		return damaged(path, 0, "%v", err)
	}
	p.floor = max(p.floor, p.old.HighWatermark)
	return nil
}

// readSegment reads a segment whole, as kfake does (see segmentBytes), into buf
// if it fits, and returns the buffer for the next one.
func (p *partition) readSegment(base int64, last bool, buf []byte) ([]byte, error) {
	path := p.path(base, ".dat")
	raw, err := readFile(path, buf)
	if err != nil {
		return nil, err
	}
	s := segment{base: base}
	for at := int64(0); at < int64(len(raw)); {
		h, err := parseBatch(raw[at:])
		if err != nil {
			if !last || findBatch(raw[at:], p.end) {
				return nil, damaged(path, at, "%v", err)
			}
			p.torn = int64(len(raw)) - at
			break
		}
		if h.offset < p.end || !p.gaps && p.end > 0 && h.offset != p.end {
			return nil, damaged(path, at, "the batch of offset %d follows that of offset %d", h.offset, p.end-1)
		}
		if at == 0 {
			s.minEpoch = h.epoch
		}
		s.minEpoch, s.maxEpoch = min(s.minEpoch, h.epoch), max(s.maxEpoch, h.epoch)
		p.note(&h, raw[at:at+h.size])
		if last {
			s.index = append(s.index, indexEntry(&h)...)
		}
		at += h.size
		s.size = at
	}
	p.segments = append(p.segments, s)
	return raw, nil
}

// note takes over what a batch means for the partition.
func (p *partition) note(h *batchHeader, raw []byte) {
	p.end, p.epoch, p.maxTime = h.end(), h.epoch, max(p.maxTime, h.maxTimestamp)
	switch {
	case h.control():
		if t, ok := p.open[h.producer]; ok && !isCommit(raw) {
			p.aborted = append(p.aborted, abortedTxn{ProducerID: h.producer, FirstOffset: t.first, LastOffset: h.offset})
		}
		delete(p.open, h.producer)
	case h.inTxn():
		if t, ok := p.open[h.producer]; ok {
			p.open[h.producer] = openTxn{first: t.first, epoch: max(t.epoch, h.producerEp)}
		} else {
			p.open[h.producer] = openTxn{first: h.offset, epoch: h.producerEp}
		}
	}
	if h.sequenced() {
		w := p.windows[h.producer]
		if w == nil {
			w = &seqWindow{}
			p.windows[h.producer] = w
		}
		w.push(h)
	}
}
