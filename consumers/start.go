package consumers

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// prepare does what must be done before the group is joined: the dead-letter
// topic exists, and a group that was never seen has its start committed, for
// every partition there is. From then on a missing offset is a lost one, or
// that of a new partition.
func prepare(ctx context.Context, o *Options, maxBytes *atomic.Int32) (*marker, error) {
	client, err := kgo.NewClient(o.Client...)
	if err != nil {
		return nil, fatal(fmt.Errorf("make client: %w", err))
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	if err := ensureDeadLetter(ctx, admin, o, maxBytes); err != nil {
		return nil, err
	}
	m, seen, err := openMarker(o.Dir, o.Group)
	if err != nil {
		return nil, fatal(err)
	}
	committed, err := admin.FetchOffsets(ctx, o.Group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, fmt.Errorf("fetch offsets of group %q: %w", o.Group, err)
	}
	committed.Each(func(r kadm.OffsetResponse) { seen = seen || r.At >= 0 })
	if !seen {
		if err := seed(ctx, admin, o, m); err != nil {
			return nil, err
		}
	}
	if err := m.save(); err != nil {
		return nil, fatal(err)
	}
	return m, nil
}

// seed commits where a new group starts.
func seed(ctx context.Context, admin *kadm.Client, o *Options, m *marker) error {
	topics, err := admin.ListTopics(ctx, o.Topics...)
	if err != nil {
		return fmt.Errorf("list topics: %w", err)
	}
	var exist []string
	for _, t := range topics {
		switch {
		case errors.Is(t.Err, kerr.UnknownTopicOrPartition):
			o.Logger.InfoContext(ctx, "topic does not exist yet, the group waits for it", "group", o.Group, "topic", t.Topic)
		case t.Err != nil:
			return fmt.Errorf("describe topic %q: %w", t.Topic, t.Err)
		default:
			exist = append(exist, t.Topic)
		}
	}
	if len(exist) == 0 {
		return nil
	}
	starts, err := listStart(ctx, admin, o.Start, exist)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return fmt.Errorf("find where group %q starts: %w", o.Group, err)
	}
	// Kafka refuses this once a member has joined: it has committed its own.
	if err := admin.CommitAllOffsets(ctx, o.Group, starts.Offsets()); err != nil {
		return fmt.Errorf("commit where group %q starts: %w", o.Group, err)
	}
	starts.Each(func(l kadm.ListedOffset) {
		m.add(l.Topic, topicID(topics[l.Topic]), l.Partition)
	})
	o.Logger.InfoContext(ctx, "new group starts", "group", o.Group, "topics", exist, "latest", o.Start.Latest, "time", o.Start.Time)
	return nil
}

// topicID returns the ID of a topic, or nothing where the broker has none.
func topicID(d kadm.TopicDetail) string {
	if d.Err != nil || d.ID == (kadm.TopicID{}) {
		return ""
	}
	return d.ID.String()
}

func listStart(ctx context.Context, admin *kadm.Client, s Start, topics []string) (kadm.ListedOffsets, error) {
	switch {
	case s.Latest:
		return admin.ListEndOffsets(ctx, topics...)
	case !s.Time.IsZero():
		return admin.ListOffsetsAfterMilli(ctx, s.Time.UnixMilli(), topics...)
	}
	return admin.ListStartOffsets(ctx, topics...)
}

// gap is a lost position: the committed offset is missing, or the log no
// longer has it.
type gap struct {
	group     string
	tp        TopicPartition
	committed int64 // -1: missing
	start     int64 // the log's
	end       int64
}

// gapHint says what to do about a lost position.
const gapHint = "set it with hooklog group seek, or let the group go on at the oldest record with on_lost_offset: earliest"

func (g *gap) Error() string {
	where := fmt.Sprintf("%s/%d", g.tp.Topic, g.tp.Partition)
	switch {
	case g.committed < 0:
		return fmt.Sprintf("group %q lost its committed offset of %s: it expired or was deleted, and what was handled of the log's offsets %d to %d is unknown (%s)", g.group, where, g.start, g.end, gapHint)
	case g.committed < g.start:
		return fmt.Sprintf("group %q came too late for %s: it had got to offset %d and the log begins at %d, %d records are gone (%s)", g.group, where, g.committed, g.start, g.start-g.committed, gapHint)
	}
	return fmt.Sprintf("group %q has the committed offset %d of %s and the log ends at %d: it was truncated or made anew (%s)", g.group, g.committed, where, g.end, gapHint)
}

// gone returns how many records the log lost, as far as it is known.
func (g *gap) gone() int64 {
	if g.committed < 0 {
		return 0
	}
	return max(g.start-g.committed, 0)
}

// starts decides where newly assigned partitions start, given the offsets that
// the broker has for them (-1: none). Those in fresh have no commit yet that
// counts. Partitions in lost are in neither.
func (m *marker) starts(group string, committed map[TopicPartition]mark, begin, end kadm.ListedOffsets, ids map[string]string, onLost LostOffset) (start map[TopicPartition]mark, fresh []TopicPartition, lost []*gap) {
	start = make(map[TopicPartition]mark, len(committed))
	for tp, at := range committed {
		b, ok := begin.Lookup(tp.Topic, tp.Partition)
		e, ok2 := end.Lookup(tp.Topic, tp.Partition)
		if !ok || !ok2 {
			start[tp] = at // Gone meanwhile: fetching it says so.
			continue
		}
		g := &gap{group: group, tp: tp, committed: at.offset, start: b.Offset, end: e.Offset}
		switch {
		case m.recreated(tp.Topic, ids[tp.Topic]), at.offset < 0 && !m.has(tp):
			start[tp] = mark{b.Offset, -1}
			fresh = append(fresh, tp)
		case at.offset >= b.Offset && at.offset <= e.Offset:
			start[tp] = at
		default:
			lost = append(lost, g)
			if onLost == LostOffsetEarliest {
				start[tp] = mark{b.Offset, -1}
				fresh = append(fresh, tp)
			}
		}
	}
	return start, fresh, lost
}
