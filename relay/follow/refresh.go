package follow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"hooklog/relay/index"
)

// brokerError is a failure that passes when the brokers are well again.
type brokerError struct{ err error }

func (e brokerError) Error() string { return e.err.Error() }
func (e brokerError) Unwrap() error { return e.err }

// refresh compares topic IDs and partition counts, now and then, and takes the
// high watermarks.
func (f *Follower) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	now := f.opts.Now()
	if now.Sub(f.checked) >= topicInterval {
		if err := f.checkTopics(ctx); err != nil {
			return err
		}
		f.checked = now
	}
	asked := f.opts.Now()
	lows := f.lows()
	ends, err := f.listOffsets(ctx, endOffset)
	if err != nil {
		return err
	}
	return f.takeEnds(ends, lows, asked)
}

// checkTopics learns of new partitions and of topics that were made anew.
func (f *Follower) checkTopics(ctx context.Context) error {
	req := kmsg.NewPtrMetadataRequest()
	for _, name := range f.opts.Topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(name)
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, f.client)
	if err != nil {
		return brokerError{fmt.Errorf("ask for topics: %w", err)}
	}
	var missing []error
	changed := false
	for _, rt := range resp.Topics {
		name := *rt.Topic
		if err := kerr.ErrorForCode(rt.ErrorCode); err != nil {
			missing = append(missing, fmt.Errorf("topic %q: %w", name, err))
			continue
		}
		more, err := f.learn(name, index.TopicID(rt.TopicID), len(rt.Partitions))
		if err != nil {
			return err
		}
		changed = changed || more
	}
	if changed {
		if err := f.startPartitions(ctx); err != nil {
			return err
		}
	}
	if err := errors.Join(missing...); err != nil {
		return brokerError{err}
	}
	return nil
}

// learn takes over what is known of a topic, and reports whether it has
// partitions that have no start yet.
func (f *Follower) learn(name string, id index.TopicID, partitions int) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.topics[name]
	if t == nil || t.id != id {
		ref, err := f.opts.Index.Topic(name, id)
		if err != nil {
			return false, err
		}
		if t != nil {
			f.log.Warn("topic was made anew: what the old one held is forgotten", "topic", name)
			f.forget(t)
		}
		t = &topicState{name: name, id: id, ref: ref}
		f.topics[name] = t
	}
	for len(t.partitions) < partitions {
		t.partitions = append(t.partitions, &partitionState{})
	}
	for _, p := range t.partitions {
		if !p.known {
			return true, nil
		}
	}
	return false, nil
}

// startPartitions decides where reading begins in partitions that are new to
// this process: at the checkpoint, else where the window begins.
func (f *Follower) startPartitions(ctx context.Context) error {
	starts, err := f.listOffsets(ctx, startOffset)
	if err != nil {
		return err
	}
	ends, err := f.listOffsets(ctx, endOffset)
	if err != nil {
		return err
	}
	windows, err := f.listOffsets(ctx, f.opts.Now().Add(-f.opts.Window).UnixMilli())
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.topics {
		marks, err := f.opts.Index.Checkpoints(t.ref)
		if err != nil {
			return err
		}
		for i := range t.partitions {
			if marks[int32(i)].Offset > ends[at{t.name, int32(i)}] {
				return f.lost(t, int32(i), marks[int32(i)].Offset, ends[at{t.name, int32(i)}])
			}
		}
		for i, p := range t.partitions {
			k := at{t.name, int32(i)}
			end, ok := ends[k]
			if p.known || !ok {
				continue
			}
			cp, marked := marks[int32(i)]
			from := cp.Offset
			if !marked {
				from = windows[k]
				if from < 0 { // nothing is as young as the window
					from = end
				}
			}
			from = max(from, starts[k])
			*p = partitionState{coverage: coverage{low: from}, known: true, end: end, before: end, goal: end, start: from, saved: from}
		}
	}
	return nil
}

// takeEnds stores the high watermarks. lows are the marks from before they were
// asked for: an end below them means that the log has lost records.
func (f *Follower) takeEnds(ends, lows map[at]int64, asked time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	complete := len(f.topics) == len(f.opts.Topics)
	for _, t := range f.topics {
		for i, p := range t.partitions {
			k := at{t.name, int32(i)}
			end, ok := ends[k]
			if !ok || !p.known {
				complete = false
				continue
			}
			if end < lows[k] {
				return f.lost(t, int32(i), lows[k], end)
			}
			p.before, p.end, p.asked = p.end, end, asked
			complete = complete && p.low >= p.goal
		}
	}
	if complete && !f.caughtUp.Swap(true) {
		f.log.Info("index has caught up with the log")
	}
	return nil
}

// lost drops what is known of a topic whose log is shorter than it was. The
// caller holds f.mu.
func (f *Follower) lost(t *topicState, partition int32, had, end int64) error {
	f.log.Error("log has lost records: the index is read again",
		"topic", t.name, "partition", partition, "offset", had, "end", end)
	ref, err := f.opts.Index.Reset(t.ref)
	if err != nil {
		return err
	}
	f.forget(t)
	t.ref = ref
	for i := range t.partitions {
		t.partitions[i] = &partitionState{}
	}
	f.checked = time.Time{}
	return nil
}

// forget stops reading a topic. The caller holds f.mu.
func (f *Follower) forget(t *topicState) {
	f.caughtUp.Store(false)
	f.client.PurgeTopicsFromConsuming(t.name)
	for _, p := range t.partitions {
		p.reading = false
	}
}

// at names a partition.
type at struct {
	topic     string
	partition int32
}

// Timestamps with a meaning of their own in a ListOffsets request.
const (
	endOffset   = -1
	startOffset = -2
)

func (f *Follower) lows() map[at]int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make(map[at]int64)
	for _, t := range f.topics {
		for i, p := range t.partitions {
			out[at{t.name, int32(i)}] = p.low
		}
	}
	return out
}

// listOffsets asks for one offset of each known partition, by timestamp. The
// isolation level is read_uncommitted: the high watermark, not the last stable
// offset, which an open transaction of somebody else holds back.
func (f *Follower) listOffsets(ctx context.Context, timestamp int64) (map[at]int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	f.mu.Lock()
	for _, t := range f.topics {
		rt := kmsg.NewListOffsetsRequestTopic()
		rt.Topic = t.name
		for i := range t.partitions {
			rp := kmsg.NewListOffsetsRequestTopicPartition()
			rp.Partition = int32(i)
			rp.Timestamp = timestamp
			rt.Partitions = append(rt.Partitions, rp)
		}
		req.Topics = append(req.Topics, rt)
	}
	f.mu.Unlock()
	if len(req.Topics) == 0 {
		return nil, nil
	}
	resp, err := req.RequestWith(ctx, f.client)
	if err != nil {
		return nil, brokerError{fmt.Errorf("ask for offsets: %w", err)}
	}
	out := make(map[at]int64)
	for _, rt := range resp.Topics {
		for _, rp := range rt.Partitions {
			if err := kerr.ErrorForCode(rp.ErrorCode); err != nil {
				return nil, brokerError{fmt.Errorf("ask for offsets of %s/%d: %w", rt.Topic, rp.Partition, err)}
			}
			out[at{rt.Topic, rp.Partition}] = rp.Offset
		}
	}
	return out, nil
}
