package follow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"hooklog/relay/index"
	"hooklog/schemas"
)

const (
	// Sizes of one answer: enough that a broker far away is read at full speed,
	// little enough that the facts of one partition's share are one batch.
	fetchBytes          = 16 << 20
	fetchPartitionBytes = 4 << 20
	isolationCommitted  = 1
)

// want is a stretch of a partition that is to be read.
type want struct {
	topic     *topicState
	partition int32
	epoch     int32
	from, to  int64
}

// stretch is what was read of one: the facts in from <= offset < to.
type stretch struct {
	want
	facts     []index.Fact
	undecoded []int64 // offsets of records that are none of ours
	err       error
}

// fetch reads stretches from their leader until each is done, has failed, holds
// no more at the moment (behind an open transaction), or the time is up. Facts
// lack their topic.
func (f *Follower) fetch(ctx context.Context, leader int32, wants []want, until time.Time, out chan<- stretch) {
	decompressor := kgo.DefaultDecompressor()
	for len(wants) > 0 && time.Now().Before(until) && ctx.Err() == nil {
		resp, err := f.fetchOnce(ctx, leader, wants)
		if err != nil {
			for _, w := range wants {
				out <- stretch{want: w, err: err}
			}
			return
		}
		answered := make(map[at]*kmsg.FetchResponseTopicPartition, len(wants))
		for i := range resp.Topics {
			rt := &resp.Topics[i]
			for j := range rt.Partitions {
				answered[at{topicOf(rt, wants), rt.Partitions[j].Partition}] = &rt.Partitions[j]
			}
		}
		var left []want
		for _, w := range wants {
			rp := answered[at{w.topic.name, w.partition}]
			if rp == nil {
				continue // For this time: the answer was full.
			}
			s := f.decode(w, rp, decompressor)
			if s.err != nil || s.to > s.from {
				out <- s
			}
			if s.err == nil && s.to > s.from && s.to < w.to {
				w.from = s.to
				left = append(left, w)
			}
		}
		wants = left
	}
}

func (f *Follower) fetchOnce(ctx context.Context, leader int32, wants []want) (*kmsg.FetchResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req := kmsg.NewPtrFetchRequest()
	req.MinBytes = 1
	req.MaxBytes = fetchBytes
	req.IsolationLevel = isolationCommitted
	byTopic := make(map[string]int)
	for _, w := range wants {
		i, ok := byTopic[w.topic.name]
		if !ok {
			i = len(req.Topics)
			byTopic[w.topic.name] = i
			rt := kmsg.NewFetchRequestTopic()
			rt.Topic, rt.TopicID = w.topic.name, w.topic.id
			req.Topics = append(req.Topics, rt)
		}
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition = w.partition
		rp.CurrentLeaderEpoch = w.epoch
		rp.FetchOffset = w.from
		rp.PartitionMaxBytes = fetchPartitionBytes
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, rp)
	}
	resp, err := f.client.Broker(int(leader)).RetriableRequest(ctx, req)
	if err != nil {
		return nil, err
	}
	fetched := resp.(*kmsg.FetchResponse)
	return fetched, kerr.ErrorForCode(fetched.ErrorCode)
}

// topicOf returns the name of an answer's topic, which newer brokers name by
// its ID alone.
func topicOf(rt *kmsg.FetchResponseTopic, wants []want) string {
	if rt.Topic != "" {
		return rt.Topic
	}
	for _, w := range wants {
		if w.topic.id == rt.TopicID {
			return w.topic.name
		}
	}
	return ""
}

// decode takes the facts from an answer. Offsets that hold no record for us,
// such as aborted ones and transaction markers, count as read.
func (f *Follower) decode(w want, rp *kmsg.FetchResponseTopicPartition, d kgo.Decompressor) stretch {
	fp, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		Offset: w.from, IsolationLevel: kgo.ReadCommitted(), Topic: w.topic.name, Partition: w.partition,
	}, rp, d, nil)
	s := stretch{want: w}
	s.to = max(next, w.from)
	if fp.Err != nil && s.to == s.from {
		s.err = fp.Err
		return s
	}
	s.facts = make([]index.Fact, 0, len(fp.Records))
	for _, r := range fp.Records {
		source, id, ok := schemas.Identify(r)
		if !ok {
			s.undecoded = append(s.undecoded, r.Offset)
			continue
		}
		s.facts = append(s.facts, index.Fact{
			Key: schemas.KeyOf(source, id), Partition: r.Partition, Offset: r.Offset,
			Time: r.Timestamp, BodySum: schemas.BodySum(r.Value), Window: f.opts.WindowOf(source),
		})
	}
	return s
}

// readFailed notes why a stretch could not be read and what to look at before
// it is tried again. The caller holds f.mu.
func (f *Follower) readFailed(p *partitionState, s *stretch) {
	if errors.Is(s.err, context.Canceled) {
		return
	}
	p.problem = fmt.Sprintf("read %s/%d from %d: %v", s.topic.name, s.partition, s.from, s.err)
	p.moved = p.moved || errors.Is(s.err, kerr.OffsetOutOfRange)
	f.checked = time.Time{} // The leader may be another, or the topic.
}
