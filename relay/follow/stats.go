package follow

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Stats is what an operator sees of a follower.
type Stats struct {
	CaughtUp bool `json:"caught_up"`
	// Progress is that of catching up.
	Progress Progress `json:"progress"`
	// Foreign records were fetched: those of other writers, and own ones whose
	// acknowledgement was late. Copies are further records of an event the
	// index knew; Undecoded are none of ours.
	Foreign   int64 `json:"foreign"`
	Copies    int64 `json:"copies"`
	Undecoded int64 `json:"undecoded"`
	// Behind is how many records are not covered yet.
	Behind     int64            `json:"behind"`
	Partitions []PartitionStats `json:"partitions"`
}

// PartitionStats is how far one partition has been read.
type PartitionStats struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	// Checkpoint is what a restart goes on from, -1 for none yet; everything
	// before Covered is in the index; End is the log's.
	Checkpoint int64 `json:"checkpoint"`
	Covered    int64 `json:"covered"`
	End        int64 `json:"end"`
}

// Progress is how far catching up has come, in records. Offsets that hold none
// count as well.
type Progress struct {
	Read  int64 `json:"read"`
	Total int64 `json:"total"`
	// Left is about how long the rest will take, in seconds; -1 if that cannot
	// be said yet.
	Left float64 `json:"left_seconds"`
}

// Percent is from 0 to 100.
func (p Progress) Percent() float64 {
	if p.Total <= 0 {
		return 0
	}
	return 100 * float64(p.Read) / float64(p.Total)
}

// String is "43 % (430 of 1000 records), 12s left".
func (p Progress) String() string {
	text := fmt.Sprintf("%.0f %% (%d of %d records)", p.Percent(), p.Read, p.Total)
	if p.Left >= 0 {
		text += fmt.Sprintf(", %v left", time.Duration(p.Left*float64(time.Second)).Round(time.Second))
	}
	return text
}

// Stats returns the current figures.
func (f *Follower) Stats() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := Stats{CaughtUp: f.CaughtUp(), Progress: f.progress(), Foreign: f.foreign, Copies: f.copies, Undecoded: f.undecoded}
	for _, t := range f.topics {
		for i, p := range t.partitions {
			if !p.known {
				continue
			}
			s.Behind += max(0, p.end-p.low)
			s.Partitions = append(s.Partitions, PartitionStats{
				Topic: t.name, Partition: int32(i), Checkpoint: p.saved, Covered: p.low, End: p.end,
			})
		}
	}
	slices.SortFunc(s.Partitions, func(a, b PartitionStats) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return s
}

// Progress returns how far catching up has come.
func (f *Follower) Progress() Progress {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.progress()
}

// progress is Progress; the caller holds f.mu.
func (f *Follower) progress() Progress {
	p := Progress{Left: -1}
	for _, t := range f.topics {
		for _, part := range t.partitions {
			if part.known {
				p.Read += min(part.low, part.goal) - part.start
				p.Total += part.goal - part.start
			}
		}
	}
	if took := time.Since(f.behindSince); p.Read > 0 && took > 0 && !f.behindSince.IsZero() {
		p.Left = took.Seconds() * float64(p.Total-p.Read) / float64(p.Read)
	}
	return p
}

// progressInterval is how often catching up is logged.
const progressInterval = 5 * time.Second

// logProgress says now and then how far catching up has come.
func (f *Follower) logProgress() {
	if f.CaughtUp() || time.Since(f.logged) < progressInterval {
		return
	}
	f.logged = time.Now()
	if p := f.Progress(); p.Total > 0 {
		f.log.Info("index is catching up with the log", "percent", int(p.Percent()), "read", p.Read, "total", p.Total,
			"left", time.Duration(max(0, p.Left)*float64(time.Second)).Round(time.Second))
	}
}
