package follow

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"hooklog/relay/index"
)

// Timestamps with a meaning of their own in a ListOffsets request.
const (
	endOffset   = -1
	startOffset = -2
)

// listed is an answer to ListOffsets.
type listed struct {
	offset int64
	epoch  int32 // the leader's, for the end; -1 if the broker does not say
}

// listOffsets asks for one offset of each partition, by timestamp. The
// isolation level is read_uncommitted: the high watermark, not the last stable
// offset, which an open transaction of somebody else holds back. It returns
// what it got, and an error for what is missing.
func (f *Follower) listOffsets(ctx context.Context, partitions []at, timestamp int64) (map[at]listed, error) {
	if len(partitions) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	byTopic := make(map[string]int)
	for _, k := range partitions {
		i, ok := byTopic[k.topic]
		if !ok {
			i = len(req.Topics)
			byTopic[k.topic] = i
			rt := kmsg.NewListOffsetsRequestTopic()
			rt.Topic = k.topic
			req.Topics = append(req.Topics, rt)
		}
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Partition = k.partition
		rp.Timestamp = timestamp
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, rp)
	}
	out := make(map[at]listed, len(partitions))
	var failed []error
	for _, shard := range f.client.RequestSharded(ctx, req) {
		if shard.Err != nil {
			failed = append(failed, shard.Err)
			continue
		}
		for _, rt := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, rp := range rt.Partitions {
				if err := kerr.ErrorForCode(rp.ErrorCode); err != nil {
					failed = append(failed, fmt.Errorf("%s/%d: %w", rt.Topic, rp.Partition, err))
					continue
				}
				out[at{rt.Topic, rp.Partition}] = listed{rp.Offset, rp.LeaderEpoch}
			}
		}
	}
	if len(failed) == 0 && len(out) < len(partitions) {
		failed = append(failed, errors.New("the answer is incomplete"))
	}
	if len(failed) > 0 {
		return out, brokerError{fmt.Errorf("ask for offsets: %w", errors.Join(failed...))}
	}
	return out, nil
}

// epochEnds asks where the leader epochs of checkpoints ended. What is not
// returned is not known: the broker does not remember the epoch, or is too old
// to be asked.
func (f *Follower) epochEnds(ctx context.Context, marks map[at]index.Checkpoint) (map[at]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	req.ReplicaID = -1
	byTopic := make(map[string]int)
	for k, m := range marks {
		if m.Epoch < 0 {
			continue
		}
		i, ok := byTopic[k.topic]
		if !ok {
			i = len(req.Topics)
			byTopic[k.topic] = i
			rt := kmsg.NewOffsetForLeaderEpochRequestTopic()
			rt.Topic = k.topic
			req.Topics = append(req.Topics, rt)
		}
		rp := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		rp.Partition = k.partition
		rp.LeaderEpoch = m.Epoch
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, rp)
	}
	if len(req.Topics) == 0 {
		return nil, nil
	}
	out := make(map[at]int64)
	var failed []error
	for _, shard := range f.client.RequestSharded(ctx, req) {
		if shard.Err != nil {
			failed = append(failed, shard.Err)
			continue
		}
		for _, rt := range shard.Resp.(*kmsg.OffsetForLeaderEpochResponse).Topics {
			for _, rp := range rt.Partitions {
				switch err := kerr.ErrorForCode(rp.ErrorCode); {
				case err != nil:
					failed = append(failed, fmt.Errorf("%s/%d: %w", rt.Topic, rp.Partition, err))
				case rp.EndOffset >= 0:
					out[at{rt.Topic, rp.Partition}] = rp.EndOffset
				}
			}
		}
	}
	if len(failed) > 0 {
		return out, brokerError{fmt.Errorf("ask where leader epochs ended: %w", errors.Join(failed...))}
	}
	return out, nil
}
