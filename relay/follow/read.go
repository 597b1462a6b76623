package follow

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"hooklog/relay/index"
	"hooklog/schemas"
)

// read fetches what is open for that long, then returns.
func (f *Follower) read(ctx context.Context, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for ctx.Err() == nil {
		if !f.open() {
			<-ctx.Done()
			return nil
		}
		fetches := f.client.PollRecords(ctx, maxPollRecords)
		if fetches.IsClientClosed() {
			return nil
		}
		if err := f.take(fetches); err != nil {
			return err
		}
	}
	return nil
}

// open starts to read each partition that has a gap, and reports whether any is
// being read.
func (f *Follower) open() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	any := false
	add := make(map[string]map[int32]kgo.Offset)
	for _, t := range f.topics {
		for i, p := range t.partitions {
			if p.known && !p.reading {
				if from, to := p.gap(p.before); from < to {
					p.reading, p.next = true, from
					if add[t.name] == nil {
						add[t.name] = make(map[int32]kgo.Offset)
					}
					add[t.name][int32(i)] = kgo.NewOffset().At(from)
				}
			}
			any = any || p.reading
		}
	}
	if len(add) > 0 {
		f.client.AddConsumePartitions(add)
	}
	return any
}

// take applies what was fetched to the index, covers it, and stops reading the
// partitions whose gap is closed.
func (f *Follower) take(fetches kgo.Fetches) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var facts []index.Fact
	fetches.EachPartition(func(fp kgo.FetchTopicPartition) {
		t, p := f.partition(fp.Topic, fp.Partition)
		if p == nil || !p.reading {
			return
		}
		for _, r := range fp.Records {
			if r.Offset < p.next || r.Attrs.IsControl() {
				continue
			}
			f.foreign++
			source, id, ok := schemas.Identify(r)
			if !ok {
				f.undecoded++
				continue
			}
			facts = append(facts, index.Fact{
				Key: schemas.KeyOf(source, id), Topic: t.ref, Partition: r.Partition, Offset: r.Offset,
				Time: r.Timestamp, BodySum: schemas.BodySum(r.Value),
			})
		}
	})
	copies, err := f.opts.Index.Apply(facts, nil)
	if err != nil {
		return err
	}
	f.copies += int64(copies)

	done := make(map[string][]int32)
	fetches.EachPartition(func(fp kgo.FetchTopicPartition) {
		_, p := f.partition(fp.Topic, fp.Partition)
		if p == nil || !p.reading || len(fp.Records) == 0 {
			return
		}
		// Offsets that were skipped hold nothing for us: aborted, compacted.
		if next := fp.Records[len(fp.Records)-1].Offset + 1; next > p.next {
			p.add(p.next, next)
			p.next = next
		}
		if from, to := p.gap(p.before); from >= to || from != p.next {
			p.reading = false
			done[fp.Topic] = append(done[fp.Topic], fp.Partition)
		}
	})
	if len(done) > 0 {
		f.client.RemoveConsumePartitions(done)
	}
	for _, fe := range fetches.Errors() {
		if err := f.fetchFailed(fe); err != nil {
			return err
		}
	}
	return nil
}

// fetchFailed judges an error of one partition. The caller holds f.mu.
func (f *Follower) fetchFailed(fe kgo.FetchError) error {
	if errors.Is(fe.Err, context.DeadlineExceeded) || errors.Is(fe.Err, context.Canceled) {
		return nil
	}
	t, p := f.partition(fe.Topic, fe.Partition)
	if p == nil {
		return nil
	}
	if loss := new(kgo.ErrDataLoss); errors.As(fe.Err, &loss) {
		return f.lost(t, fe.Partition, loss.ConsumedTo, loss.ResetTo)
	}
	// The partition is looked at anew: where it starts and ends now, and
	// whether the topic is still the same. A start beyond low means that
	// retention removed what was open.
	f.log.Warn("cannot read the log, trying again", "topic", fe.Topic, "partition", fe.Partition, "err", fe.Err)
	f.client.RemoveConsumePartitions(map[string][]int32{fe.Topic: {fe.Partition}})
	p.reading, p.known = false, false
	f.checked = time.Time{}
	return nil
}

// partition returns the state of a partition; nil if it is not followed. The
// caller holds f.mu.
func (f *Follower) partition(topic string, n int32) (*topicState, *partitionState) {
	t := f.topics[topic]
	if t == nil || int(n) >= len(t.partitions) {
		return nil, nil
	}
	return t, t.partitions[n]
}
