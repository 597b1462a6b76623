package consumers

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// assign is called with the committed offsets of partitions that are new to
// this member, before any of them is fetched; it decides where they start. A
// partition that it leaves out is not fetched. An error makes the client rejoin.
func (s *session) assign(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	<-s.ready
	committed := make(map[TopicPartition]mark)
	var topics []string
	for t, ps := range offsets {
		topics = append(topics, t)
		for p, o := range ps {
			at := o.EpochOffset()
			// Anything below zero is kgo's way to say that there is none.
			committed[TopicPartition{t, p}] = mark{max(at.Offset, -1), at.Epoch}
		}
	}
	if len(committed) == 0 {
		return offsets, nil
	}
	log, err := s.look(ctx, topics)
	if err != nil {
		return nil, fmt.Errorf("find the ends of the log: %w", err)
	}
	start, fresh, lost := s.marker.starts(s.opts.Group, committed, log.begin, log.end, log.ids, s.opts.OnLostOffset)
	for _, g := range lost {
		if s.opts.OnLostOffset == LostOffsetStop {
			s.stop(ctx, g.tp, g)
			continue
		}
		s.countGone(g.tp, g)
		s.log.WarnContext(ctx, "position lost, going on at the oldest record", "topic", g.tp.Topic, "partition", g.tp.Partition, "err", g)
	}
	// Committed before the first record is handled, so that the next to get
	// the partition finds a position.
	commits := make(map[TopicPartition]mark, len(fresh))
	for _, tp := range fresh {
		commits[tp] = start[tp]
	}
	if err := s.commit(ctx, commits); err != nil {
		return nil, err
	}
	changed := false
	for tp := range start {
		changed = s.marker.add(tp.Topic, log.ids[tp.Topic], tp.Partition) || changed
	}
	if changed {
		if err := s.marker.save(); err != nil {
			return nil, err
		}
	}
	moved, err := s.mode.assigned(ctx, start)
	if err != nil {
		return nil, err
	}
	s.client.ResumeFetchPartitions(unflatten(moved))
	result := make(map[string]map[int32]kgo.Offset, len(offsets))
	for tp, m := range moved {
		if result[tp.Topic] == nil {
			result[tp.Topic] = make(map[int32]kgo.Offset)
		}
		result[tp.Topic][tp.Partition] = kgo.NewOffset().At(m.offset).WithEpoch(m.epoch)
	}
	s.log.InfoContext(ctx, "partitions assigned", "partitions", len(moved), "stopped", len(committed)-len(moved))
	return result, nil
}

// logEnds is where topics begin and end, and which topics they are.
type logEnds struct {
	begin, end kadm.ListedOffsets
	ids        map[string]string
}

func (s *session) look(ctx context.Context, topics []string) (logEnds, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	l := logEnds{ids: make(map[string]string)}
	details, err := s.admin.ListTopics(ctx, topics...)
	if err != nil {
		return l, err
	}
	for _, d := range details {
		l.ids[d.Topic] = topicID(d)
	}
	if l.begin, err = s.admin.ListStartOffsets(ctx, topics...); err != nil {
		return l, err
	}
	if l.end, err = s.admin.ListEndOffsets(ctx, topics...); err != nil {
		return l, err
	}
	for _, list := range []kadm.ListedOffsets{l.begin, l.end} {
		list.Each(func(o kadm.ListedOffset) {
			// A leader that is just elected says OFFSET_NOT_AVAILABLE: an end
			// taken then could lie before what was committed.
			if o.Err != nil && !errors.Is(o.Err, kerr.UnknownTopicOrPartition) {
				err = errors.Join(err, fmt.Errorf("%s/%d: %w", o.Topic, o.Partition, o.Err))
			}
		})
	}
	return l, err
}

// revoke finishes partitions that go to another member, while they still are
// this one's.
func (s *session) revoke(m map[string][]int32) {
	<-s.ready
	tps := flatten(m)
	if len(tps) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(s.life, s.opts.DrainTimeout)
	defer cancel()
	if err := s.mode.revoked(ctx, tps); err != nil {
		s.log.WarnContext(ctx, "partitions were given up with work undone; it is done again by their next owner", "err", err)
	}
	s.forget(tps)
	s.log.InfoContext(ctx, "partitions revoked", "partitions", len(tps))
}

// lose forgets partitions that the group has taken away without asking.
func (s *session) lose(m map[string][]int32) {
	<-s.ready
	tps := flatten(m)
	if len(tps) == 0 {
		return
	}
	s.mode.lost(tps)
	s.forget(tps)
	s.log.Warn("partitions lost: this member was away from the group for too long, or the group was changed from outside", "partitions", len(tps))
}

func unflatten[V any](m map[TopicPartition]V) map[string][]int32 {
	tps := make(map[string][]int32)
	for tp := range m {
		tps[tp.Topic] = append(tps[tp.Topic], tp.Partition)
	}
	return tps
}

func comparePartitions(a, b TopicPartition) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}
