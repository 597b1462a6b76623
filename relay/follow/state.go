package follow

import (
	"time"

	"hooklog/relay/index"
)

type topicState struct {
	name       string
	id         index.TopicID
	ref        index.TopicRef
	partitions []*partitionState
}

// partitionState is what is known of one partition.
type partitionState struct {
	coverage
	known bool // reading has a beginning, and end has been asked for

	leader      int32 // who has it, or -1, and since which epoch
	leaderEpoch int32

	end    int64     // the high watermark at the last refresh
	epoch  int32     // the leader epoch it was given in; -1 if the broker does not say
	asked  time.Time // when the request for it was sent
	before int64     // the end before it: what is open below it is nobody's pending acknowledgement

	goal      int64 // where the leader's log ended at first: catching up means to cover it
	goalEpoch int32 // the leader epoch it ended so in
	aimed     bool  // goal has been asked for
	start     int64 // where catching up began
	saved     int64 // the checkpoint as written

	short   time.Time // since when the log ends before what is covered; zero: it does not
	moved   bool      // what is open may have been removed: the log's start must be asked for
	problem string    // why it could not be read; "": it could
}

// aim sets where catching up ends, unless it is known for that leader epoch.
func (p *partitionState) aim(goal int64, epoch int32) {
	if !p.aimed || p.goalEpoch != epoch {
		p.goal, p.goalEpoch, p.aimed = goal, epoch, true
	}
}

// partitionOf returns the state of a partition, or nil if it is not followed.
// The caller holds f.mu.
func (f *Follower) partitionOf(k at) *partitionState {
	t := f.topics[k.topic]
	if t == nil || int(k.partition) >= len(t.partitions) {
		return nil
	}
	return t.partitions[k.partition]
}

// at names a partition.
type at struct {
	topic     string
	partition int32
}

// Mark is how far a partition has been read.
type Mark struct {
	Partition int32
	// Low: everything before it is covered.
	Low int64
	// End is the high watermark as it was at Asked or later.
	End   int64
	Asked time.Time
}

// Marks returns the marks of a topic's partitions; none if it is not known yet.
func (f *Follower) Marks(topic string) []Mark {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.topics[topic]
	if t == nil {
		return nil
	}
	out := make([]Mark, len(t.partitions))
	for i, p := range t.partitions {
		out[i] = Mark{Partition: int32(i), Low: p.low, End: p.end, Asked: p.asked}
	}
	return out
}

// save writes the checkpoints that have moved, now and then or at once, and
// maintains the index.
func (f *Follower) save(atOnce bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !atOnce && time.Since(f.saved) < f.opts.SaveInterval {
		return nil
	}
	f.saved = time.Now()
	var marks []index.Checkpoint
	var moved []*partitionState
	for _, t := range f.topics {
		for i, p := range t.partitions {
			// What own acknowledgements cover beyond the end may have come in
			// a later leader epoch than the end.
			offset := min(p.low, p.end)
			if p.known && offset != p.saved {
				marks = append(marks, index.Checkpoint{Topic: t.ref, Partition: int32(i), Offset: offset, Epoch: p.epoch})
				moved = append(moved, p)
			}
		}
	}
	if len(marks) > 0 {
		if _, err := f.opts.Index.Apply(nil, marks); err != nil {
			return err
		}
		for i, p := range moved {
			p.saved = marks[i].Offset
		}
	}
	return f.opts.Index.Maintain(f.opts.Now())
}
