package history

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ErrNoTopic is returned for a topic that does not exist.
var ErrNoTopic = errors.New("topic does not exist")

// span is a range of offsets of one partition, [from, to).
type span struct{ from, to int64 }

// forever is the end of a span that has none.
const forever = 1<<63 - 1

const (
	fetchWait      = 500 * time.Millisecond
	pollWait       = time.Second // more than fetchWait: a poll without records has had an answer
	idlePolls      = 2
	maxBuffered    = 1 << 20 // of one partition, in bytes; a fetch comes on top
	partitionsWait = 10 * time.Second
)

// bounds returns the span that each partition of a topic has now.
func bounds(ctx context.Context, admin *kadm.Client, topic string) (map[int32]span, error) {
	details, err := admin.ListTopics(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("look for topic %q: %w", topic, err)
	}
	if err := details[topic].Err; errors.Is(err, kerr.UnknownTopicOrPartition) || !details.Has(topic) {
		return nil, fmt.Errorf("%w: %q (the relay makes it when it starts)", ErrNoTopic, topic)
	} else if err != nil {
		return nil, fmt.Errorf("look for topic %q: %w", topic, err)
	}
	starts, err1 := admin.ListStartOffsets(ctx, topic)
	ends, err2 := admin.ListEndOffsets(ctx, topic) // the high watermarks
	if err := errors.Join(err1, err2, starts.Error(), ends.Error()); err != nil {
		return nil, fmt.Errorf("find the ends of topic %q: %w", topic, err)
	}
	spans := make(map[int32]span)
	ends.Each(func(end kadm.ListedOffset) {
		start, _ := starts.Lookup(topic, end.Partition)
		spans[end.Partition] = span{start.Offset, end.Offset}
	})
	return spans, nil
}

// reader reads spans of one topic's partitions.
type reader struct {
	topic  string
	client *kgo.Client
	admin  *kadm.Client
	// left are the spans that are not read to their end; from moves on.
	left map[int32]span
	// fetched counts the answers to fetch requests.
	fetched atomic.Int64
	idle    int
}

// OnBrokerE2E counts answers; it is a hook of the client.
func (r *reader) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e kgo.BrokerE2E) {
	if key == int16(kmsg.Fetch) && e.Err() == nil {
		r.fetched.Add(1)
	}
}

func newReader(opts []kgo.Opt, topic string, spans map[int32]span) (*reader, error) {
	r := &reader{topic: topic, left: maps.Clone(spans)}
	maps.DeleteFunc(r.left, func(_ int32, s span) bool { return s.from >= s.to })
	offsets := make(map[int32]kgo.Offset, len(r.left))
	for p, s := range r.left {
		offsets[p] = kgo.NewOffset().At(s.from)
	}
	client, err := kgo.NewClient(append(
		append([]kgo.Opt(nil), opts...),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: offsets}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
		kgo.FetchMaxWait(fetchWait),
		kgo.FetchMaxBytes(16<<20),
		kgo.FetchMaxPartitionBytes(1<<20),
		kgo.WithHooks(r),
	)...)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	r.client, r.admin = client, kadm.NewClient(client)
	return r, nil
}

func (r *reader) close() { r.client.Close() }

// poll waits for records and passes each that lies in its span, in offset
// order per partition. It returns when it has passed some, or after a while.
func (r *reader) poll(ctx context.Context, f func(*kgo.Record) error) error {
	answers := r.fetched.Load()
	waiting, cancel := context.WithTimeout(ctx, pollWait)
	fetches := r.client.PollFetches(waiting)
	cancel()
	if err := ctx.Err(); err != nil {
		return err
	}
	var failed error
	fetches.EachError(func(_ string, p int32, err error) {
		if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
			failed = errors.Join(failed, fmt.Errorf("read %s/%d: %w", r.topic, p, err))
		}
	})
	if failed != nil {
		return failed
	}
	for it := fetches.RecordIter(); !it.Done(); {
		rec := it.Next()
		s, ok := r.left[rec.Partition]
		if !ok {
			continue
		}
		r.idle = 0
		s.from = rec.Offset + 1
		r.left[rec.Partition] = s
		if rec.Offset < s.to && !rec.Attrs.IsControl() {
			if err := f(rec); err != nil {
				return err
			}
		}
		if s.from >= s.to {
			r.finish(rec.Partition)
		}
	}
	if fetches.NumRecords() == 0 && r.fetched.Load() > answers {
		return r.skipGaps(ctx)
	}
	return nil
}

func (r *reader) finish(p int32) {
	delete(r.left, p)
	r.client.PauseFetchPartitions(map[string][]int32{r.topic: {p}})
}

// skipGaps ends the spans whose last records cannot be read any more: nothing
// came although the broker answered more than once, and no transaction is open
// before the end.
func (r *reader) skipGaps(ctx context.Context) error {
	r.idle++
	if r.idle < idlePolls {
		return nil
	}
	stable, err := r.admin.ListCommittedOffsets(ctx, r.topic)
	if err != nil {
		return fmt.Errorf("find the last stable offset of topic %q: %w", r.topic, err)
	}
	for p, s := range r.left {
		if o, ok := stable.Lookup(r.topic, p); ok && o.Err == nil && o.Offset >= s.to {
			r.finish(p)
		}
	}
	return nil
}

// scan passes every record of the spans, partitions mixed.
func scan(ctx context.Context, opts []kgo.Opt, topic string, spans map[int32]span, f func(*kgo.Record) error) error {
	r, err := newReader(opts, topic, spans)
	if err != nil {
		return err
	}
	defer r.close()
	for len(r.left) > 0 {
		if err := r.poll(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// merge passes every record of the spans in order of time; records of one
// partition stay in offset order. It holds about a fetch of each partition.
func merge(ctx context.Context, opts []kgo.Opt, topic string, spans map[int32]span, f func(*kgo.Record) error) error {
	r, err := newReader(opts, topic, spans)
	if err != nil {
		return err
	}
	defer r.close()
	waiting := make(map[int32]*buffer)
	for {
		// The earliest may only go when each unfinished partition shows its own.
		for earliest := first(waiting, r.left); earliest != nil; earliest = first(waiting, r.left) {
			rec := earliest.pop()
			if earliest.paused && earliest.bytes < maxBuffered/2 {
				earliest.paused = false
				r.client.ResumeFetchPartitions(map[string][]int32{topic: {rec.Partition}})
			}
			if err := f(rec); err != nil {
				return err
			}
		}
		if len(r.left) == 0 {
			return nil
		}
		if err := r.poll(ctx, func(rec *kgo.Record) error {
			b := waiting[rec.Partition]
			if b == nil {
				b = new(buffer)
				waiting[rec.Partition] = b
			}
			b.push(rec)
			return nil
		}); err != nil {
			return err
		}
		for p, b := range waiting {
			if _, reading := r.left[p]; reading && !b.paused && b.bytes >= maxBuffered {
				b.paused = true
				r.client.PauseFetchPartitions(map[string][]int32{topic: {p}})
			}
		}
	}
}

// buffer holds the records of one partition that wait for other partitions.
type buffer struct {
	records []*kgo.Record
	bytes   int
	paused  bool
}

func (b *buffer) push(r *kgo.Record) {
	b.records = append(b.records, r)
	b.bytes += len(r.Value)
}

func (b *buffer) pop() *kgo.Record {
	r := b.records[0]
	b.records[0] = nil
	b.records = b.records[1:]
	b.bytes -= len(r.Value)
	return r
}

// first returns the buffer with the earliest record, or nil while an
// unfinished partition has none.
func first(waiting map[int32]*buffer, left map[int32]span) *buffer {
	for p := range left {
		if b := waiting[p]; b == nil || len(b.records) == 0 {
			return nil
		}
	}
	var min *buffer
	for _, b := range waiting {
		if len(b.records) > 0 && (min == nil || before(b.records[0], min.records[0])) {
			min = b
		}
	}
	return min
}

// before orders by time, then by position.
func before(a, b *kgo.Record) bool {
	if c := a.Timestamp.Compare(b.Timestamp); c != 0 {
		return c < 0
	}
	if a.Partition != b.Partition {
		return a.Partition < b.Partition
	}
	return a.Offset < b.Offset
}
