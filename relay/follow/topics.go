package follow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"hooklog/relay/index"
)

// refresh compares topics, now and then, and takes the high watermarks. What
// fails for one partition does not hold up the others.
func (f *Follower) refresh(ctx context.Context) error {
	var problems []error
	keep := func(err error) (fatal bool) {
		if err == nil {
			return false
		}
		problems = append(problems, err)
		return !errors.As(err, new(brokerError))
	}
	if now := time.Now(); now.Sub(f.checked) >= topicInterval {
		f.checked = now
		err := f.checkTopics(ctx)
		if err != nil {
			f.checked = time.Time{}
		}
		if keep(err) {
			return err
		}
	}
	if err := f.startPartitions(ctx); keep(err) {
		return err
	}
	if err := f.takeEnds(ctx); keep(err) {
		return err
	}
	if err := errors.Join(problems...); err != nil {
		return brokerError{err}
	}
	return nil
}

// checkTopics learns of leaders, of new partitions and of topics that were made
// anew.
func (f *Follower) checkTopics(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
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
	for i := range resp.Topics {
		rt := &resp.Topics[i]
		if rt.Topic == nil {
			continue
		}
		if err := kerr.ErrorForCode(rt.ErrorCode); err != nil {
			missing = append(missing, fmt.Errorf("topic %q: %w", *rt.Topic, err))
			continue
		}
		if err := f.learn(*rt.Topic, rt); err != nil {
			return err
		}
	}
	if err := errors.Join(missing...); err != nil {
		return brokerError{err}
	}
	return nil
}

// learn takes over what the brokers say of a topic.
func (f *Follower) learn(name string, rt *kmsg.MetadataResponseTopic) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	id := index.TopicID(rt.TopicID)
	t := f.topics[name]
	if t == nil || t.id != id {
		if t != nil {
			f.log.Warn("topic was made anew: what the old one held is forgotten", "topic", name)
		}
		f.caughtUp.Store(false)
		f.behindSince = time.Time{}
		ref, err := f.opts.Index.Topic(name, id)
		if err != nil {
			return err
		}
		t = &topicState{name: name, id: id, ref: ref}
		f.topics[name] = t
	}
	for i := range rt.Partitions {
		rp := &rt.Partitions[i]
		for len(t.partitions) <= int(rp.Partition) {
			t.partitions = append(t.partitions, &partitionState{leader: -1, leaderEpoch: -1, epoch: -1})
		}
		// An answer that is behind is found out by the leader it names.
		p := t.partitions[rp.Partition]
		p.leader, p.leaderEpoch = rp.Leader, rp.LeaderEpoch
	}
	return nil
}

// startPartitions decides where reading begins in partitions that are new to
// this process: at the checkpoint, else where the window begins. It also moves
// those on whose open part retention has removed.
func (f *Follower) startPartitions(ctx context.Context) error {
	asked := f.opts.Now()
	fresh := f.partitionsWhere(func(p *partitionState) bool { return !p.known })
	moved := f.partitionsWhere(func(p *partitionState) bool { return p.known && p.moved })
	if len(fresh)+len(moved) == 0 {
		return nil
	}
	starts, startErr := f.listOffsets(ctx, slices.Concat(fresh, moved), startOffset)
	f.moveOn(moved, starts)
	if len(fresh) == 0 {
		return startErr
	}
	ends, endErr := f.listOffsets(ctx, fresh, endOffset)
	windows, windowErr := f.listOffsets(ctx, fresh, asked.Add(-f.opts.Window).UnixMilli())
	marks, err := f.checkpoints()
	if err != nil {
		return err
	}
	epochs, err := f.epochEnds(ctx, marks)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, k := range fresh {
		start, ok1 := starts[k]
		end, ok2 := ends[k]
		window, ok3 := windows[k]
		if !ok1 || !ok2 || !ok3 {
			continue
		}
		t := f.topics[k.topic]
		p := t.partitions[k.partition]
		mark, marked := marks[k]
		if marked {
			has := end.offset
			if reached, ok := epochs[k]; ok {
				has = min(has, reached)
			}
			if mark.Offset > has {
				return f.lost(t, k.partition, mark.Offset, has)
			}
		}
		from := window.offset
		if from < 0 { // nothing is as young as the window
			from = end.offset
		}
		from = max(from, mark.Offset, start.offset)
		*p = partitionState{
			coverage: coverage{low: from}, known: true,
			leader: p.leader, leaderEpoch: p.leaderEpoch,
			end: end.offset, epoch: end.epoch, before: end.offset, goal: end.offset, start: from,
			saved: -1,
		}
		if from < end.offset && (f.CaughtUp() || f.behindSince.IsZero()) {
			f.behindSince, f.logged = time.Now(), time.Now()
		}
		if marked {
			p.saved = mark.Offset
		}
	}
	return errors.Join(startErr, endErr, windowErr)
}

// moveOn covers what was removed from the beginning of a log.
func (f *Follower) moveOn(moved []at, starts map[at]listed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, k := range moved {
		p := f.partitionOf(k)
		start, ok := starts[k]
		if p == nil || !ok {
			continue
		}
		p.moved = false
		if start.offset > p.low {
			f.log.Warn("records were removed from the log before they were read",
				"topic", k.topic, "partition", k.partition, "offset", p.low, "start", start.offset)
			p.add(p.low, start.offset)
		}
	}
}

// checkpoints returns the checkpoints of all partitions that have no beginning
// yet.
func (f *Follower) checkpoints() (map[at]index.Checkpoint, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make(map[at]index.Checkpoint)
	for _, t := range f.topics {
		marks, err := f.opts.Index.Checkpoints(t.ref)
		if err != nil {
			return nil, err
		}
		for n, m := range marks {
			if p := f.partitionOf(at{t.name, n}); p != nil && !p.known {
				out[at{t.name, n}] = m
			}
		}
	}
	return out, nil
}

// lost drops what is known of a topic whose log is shorter than it was. The
// caller holds f.mu.
func (f *Follower) lost(t *topicState, partition int32, had, end int64) error {
	f.log.Error("log has lost records: the index is read again",
		"topic", t.name, "partition", partition, "offset", had, "end", end)
	f.caughtUp.Store(false)
	f.behindSince = time.Time{}
	ref, err := f.opts.Index.Reset(t.ref)
	if err != nil {
		return err
	}
	// A state of its own, so that what is being fetched for the old one is
	// not taken for the new.
	again := &topicState{name: t.name, id: t.id, ref: ref}
	for _, p := range t.partitions {
		again.partitions = append(again.partitions, &partitionState{leader: p.leader, leaderEpoch: p.leaderEpoch, epoch: -1})
	}
	f.topics[t.name] = again
	return nil
}

// partitionsWhere returns the partitions of which something holds.
func (f *Follower) partitionsWhere(holds func(*partitionState) bool) []at {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []at
	for _, t := range f.topics {
		for i, p := range t.partitions {
			if holds(p) {
				out = append(out, at{t.name, int32(i)})
			}
		}
	}
	return out
}
