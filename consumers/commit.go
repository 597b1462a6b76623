package consumers

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// commit commits positions and waits for the answer. It returns an error if
// any of them was refused. Whoever calls it must make sure that the partitions
// stay this member's until it returns: the broker does not check that.
func (s *session) commit(ctx context.Context, marks map[TopicPartition]mark) error {
	if len(marks) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	offsets := make(map[string]map[int32]kgo.EpochOffset)
	for tp, m := range marks {
		if offsets[tp.Topic] == nil {
			offsets[tp.Topic] = make(map[int32]kgo.EpochOffset)
		}
		offsets[tp.Topic][tp.Partition] = kgo.EpochOffset{Epoch: m.epoch, Offset: m.offset}
	}
	var failed error
	s.client.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			failed = err
			return
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					failed = errors.Join(failed, fmt.Errorf("%s/%d: %w", t.Topic, p.Partition, err))
				}
			}
		}
	})
	if failed != nil {
		return fmt.Errorf("commit offsets of group %q: %w", s.opts.Group, failed)
	}
	return nil
}
