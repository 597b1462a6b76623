package broker

import (
	"encoding/json"
	"math"
	"path/filepath"
)

// producers are the producers that the log's journal knows.
type producers struct {
	journal *journal
	epochs  map[int64]int16
}

// producerEntry is an entry of pids.log. Each type of entry says the epoch.
type producerEntry struct {
	Type  string `json:"type"`
	ID    int64  `json:"pid"`
	Epoch int16  `json:"epoch"`
}

func readProducers(dir string) (*producers, error) {
	j, err := readJournal(filepath.Join(dir, "pids.log"))
	if err != nil {
		return nil, err
	}
	p := &producers{journal: j, epochs: make(map[int64]int16)}
	for _, b := range j.entries {
		var e producerEntry
		if err := json.Unmarshal(b, &e); err != nil {
			continue // As kfake does.
		}
		p.epochs[e.ID] = e.Epoch
	}
	return p, nil
}

// fence raises the epoch of producers that had a transaction open, and brings
// that of the others up to what the log has.
func (p *producers) fence(partitions []*partition) error {
	raised := make(map[int64]int16)
	raise := func(id int64, epoch int16) {
		if known, ok := p.epochs[id]; ok && epoch > max(known, raised[id]) {
			raised[id] = epoch
		}
	}
	for _, part := range partitions {
		for id, w := range part.windows {
			raise(id, w.Epoch)
		}
	}
	for _, part := range partitions {
		for id, t := range part.open {
			raise(id, max(t.epoch, p.epochs[id])+1)
		}
	}
	var entries [][]byte
	for id, epoch := range raised {
		p.epochs[id] = epoch
		// What kfake writes when a transaction takes too long.
		b, err := json.Marshal(producerEntry{Type: "timeout", ID: id, Epoch: epoch})
		if err != nil {
			return err
		}
		entries = append(entries, b)
	}
	return p.journal.add(entries)
}

// seqWindow is what a broker remembers of a producer in a partition: its last
// five batches, to know one that is sent again. It is kfake's pidwindow.
type seqWindow struct {
	ID        int64       `json:"pid"`
	Topic     string      `json:"topic"`
	Partition int32       `json:"partition"`
	Entries   [5]seqEntry `json:"entries"`
	Count     uint8       `json:"count"`
	At        uint8       `json:"at"`
	Epoch     int16       `json:"epoch"`
	Seen      bool        `json:"seen"`
	NextSeq   int32       `json:"next_seq"`
}

type seqEntry struct {
	FirstSeq int32 `json:"first_seq"`
	NextSeq  int32 `json:"next_seq"`
	Offset   int64 `json:"offset"`
}

func (w *seqWindow) push(h *batchHeader) {
	next := int32((int64(h.sequence) + int64(h.records)) % math.MaxInt32)
	if !w.Seen || w.Epoch != h.producerEp {
		*w = seqWindow{Seen: true, Epoch: h.producerEp}
	}
	w.NextSeq = next
	w.Entries[w.At] = seqEntry{FirstSeq: h.sequence, NextSeq: next, Offset: h.offset}
	w.At = (w.At + 1) % uint8(len(w.Entries))
	w.Count = min(w.Count+1, uint8(len(w.Entries)))
}

func (p *producers) saveWindows(dir string, partitions []*partition) error {
	var out struct {
		Version int          `json:"version"`
		Windows []*seqWindow `json:"windows"`
	}
	out.Version = formatVersion
	for _, part := range partitions {
		for id, w := range part.windows {
			if _, ok := p.epochs[id]; !ok {
				continue // kfake has forgotten the producer.
			}
			w.ID, w.Topic, w.Partition = id, part.topic, part.number
			out.Windows = append(out.Windows, w)
		}
	}
	b, err := json.Marshal(out)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, "seq_windows.json"), b)
}
