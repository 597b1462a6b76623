package follow

import (
	"context"
	"errors"
	"time"

	"hooklog/relay/index"
)

// takeEnds asks for the high watermarks and compares them with what is covered.
func (f *Follower) takeEnds(ctx context.Context) error {
	known := f.partitionsWhere(func(p *partitionState) bool { return p.known })
	// What is covered before the question is asked must be in the answer.
	tops := make(map[at]int64, len(known))
	f.mu.Lock()
	for _, k := range known {
		tops[k] = f.partitionOf(k).top()
	}
	f.mu.Unlock()
	asked := f.opts.Now()
	ends, err := f.listOffsets(ctx, known, endOffset)
	if err != nil && !errors.As(err, new(brokerError)) {
		return err
	}
	epochs, epochErr := f.epochEnds(ctx, f.leftEpochs(ends))
	goals, goalErr := f.epochEnds(ctx, f.aimless(ends))

	f.mu.Lock()
	defer f.mu.Unlock()
	complete := true
	for k, end := range ends {
		p := f.partitionOf(k)
		if reached, ok := epochs[k]; ok && reached < min(p.end, tops[k]) {
			return f.lost(f.topics[k.topic], k.partition, min(p.end, tops[k]), reached)
		}
		if end.offset < tops[k] {
			complete = false
			f.caughtUp.Store(false)
			if p.short.IsZero() {
				p.short = time.Now()
				f.checked = time.Time{} // perhaps it is another topic
			}
			if time.Since(p.short) >= shortInterval {
				return f.lost(f.topics[k.topic], k.partition, tops[k], end.offset)
			}
			continue
		}
		p.short = time.Time{}
		if end.epoch >= 0 && p.epoch >= 0 && end.epoch != p.epoch && epochErr != nil {
			continue // Its end counts once the old epoch's is known.
		}
		p.before, p.end, p.epoch, p.asked = p.end, end.offset, end.epoch, asked
		if goal, ok := goals[k]; ok {
			p.aim(max(goal, end.offset), end.epoch)
		} else if goalErr == nil && !f.caughtUp.Load() { // The broker knows of no more than its high watermark.
			p.aim(end.offset, end.epoch)
		}
	}
	if complete {
		f.maybeCaughtUp()
	}
	return errors.Join(err, epochErr, goalErr)
}

// maybeCaughtUp notes that everything is covered that the log held when each
// partition was first looked at, if it is. That is more than could be read
// then: a leader may have records that not all replicas in sync have, such as
// those a killed relay was not answered, and they become readable later, when
// the replicas have them or are given up. The caller holds f.mu.
func (f *Follower) maybeCaughtUp() {
	if f.caughtUp.Load() || len(f.topics) < len(f.opts.Topics) {
		return
	}
	for _, t := range f.topics {
		if len(t.partitions) == 0 {
			return
		}
		for _, p := range t.partitions {
			if !p.known || !p.aimed || p.low < p.goal {
				return
			}
		}
	}
	f.caughtUp.Store(true)
	f.log.Info("index has caught up with the log")
}

// leftEpochs returns the partitions whose leader epoch has changed, with the
// old one and the end that was seen in it.
func (f *Follower) leftEpochs(ends map[at]listed) map[at]index.Checkpoint {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make(map[at]index.Checkpoint)
	for k, end := range ends {
		if p := f.partitionOf(k); p.epoch >= 0 && end.epoch >= 0 && p.epoch != end.epoch {
			out[k] = index.Checkpoint{Partition: k.partition, Offset: p.end, Epoch: p.epoch}
		}
	}
	return out
}

// aimless returns the partitions that are to catch up and whose goal is not
// known, or was taken of a leader that leads no more: what only that one had is
// gone. To ask where the present epoch ends is to ask where the leader's log
// does.
func (f *Follower) aimless(ends map[at]listed) map[at]index.Checkpoint {
	if f.caughtUp.Load() {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make(map[at]index.Checkpoint)
	for k, end := range ends {
		if p := f.partitionOf(k); !p.aimed || p.goalEpoch != end.epoch {
			out[k] = index.Checkpoint{Partition: k.partition, Offset: end.offset, Epoch: end.epoch}
		}
	}
	return out
}
