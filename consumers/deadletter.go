package consumers

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Headers that a dead letter has beside those of its original. What a second
// failure says of itself replaces what the first one said; the origin stays
// the first one.
const (
	headerRoute           = "hooklog_route"
	headerAttempts        = "hooklog_attempts"
	headerErrorClass      = "hooklog_error_class"
	headerError           = "hooklog_error"
	headerGroup           = "hooklog_group"
	headerFailedAt        = "hooklog_failed_at"
	headerOriginTopic     = "hooklog_origin_topic"
	headerOriginPartition = "hooklog_origin_partition"
	headerOriginOffset    = "hooklog_origin_offset"
)

const (
	// Dead letters are few; one partition keeps them in the order of failure.
	deadLetterPartitions = 1
	maxErrorBytes        = 1 << 10
	// What a dead letter's headers add to its original, at most.
	deadLetterOverhead = 4 << 10
	// Kafka's default of max.message.bytes, less its framing.
	defaultMaxMessage = 1_000_012
)

// failure is why a record becomes a dead letter.
type failure struct {
	route    string
	attempts int
	class    ErrorClass
	err      error
}

// deadLetters writes to a group's dead-letter topic. It is safe for concurrent
// use.
type deadLetters struct {
	opts   *Options
	client *kgo.Client
	// maxBytes is the producer's batch limit for the topic: its
	// max.message.bytes, so that one large record does not fail its
	// neighbours.
	maxBytes *atomic.Int32
	now      func() time.Time
}

// record returns the dead letter of a record. It shares the original's memory.
func (d *deadLetters) record(r *kgo.Record, f failure) *kgo.Record {
	text := strings.ToValidUTF8(f.err.Error(), "\uFFFD")
	if len(text) > maxErrorBytes {
		text = strings.ToValidUTF8(text[:maxErrorBytes], "")
	}
	ours := []kgo.RecordHeader{
		{Key: headerRoute, Value: []byte(f.route)},
		{Key: headerAttempts, Value: strconv.AppendInt(nil, int64(f.attempts), 10)},
		{Key: headerErrorClass, Value: []byte(f.class)},
		{Key: headerError, Value: []byte(text)},
		{Key: headerGroup, Value: []byte(d.opts.Group)},
		{Key: headerFailedAt, Value: d.now().UTC().AppendFormat(nil, time.RFC3339Nano)},
	}
	origin := []kgo.RecordHeader{
		{Key: headerOriginTopic, Value: []byte(r.Topic)},
		{Key: headerOriginPartition, Value: strconv.AppendInt(nil, int64(r.Partition), 10)},
		{Key: headerOriginOffset, Value: strconv.AppendInt(nil, r.Offset, 10)},
	}
	headers := make([]kgo.RecordHeader, 0, len(r.Headers)+len(ours)+len(origin))
	for _, h := range r.Headers {
		switch h.Key {
		case headerRoute, headerAttempts, headerErrorClass, headerError, headerGroup, headerFailedAt:
			continue
		case headerOriginTopic:
			origin = nil
		}
		headers = append(headers, h)
	}
	headers = append(append(headers, ours...), origin...)
	// No timestamp: the broker's retention and readers by time go by when it
	// failed; when it was received is in its headers.
	return &kgo.Record{Topic: d.opts.DeadLetter, Key: r.Key, Value: r.Value, Headers: headers}
}

// write produces the dead letter and waits for its ack, without trying again.
// When ctx ends first the record may still land; the original comes again
// then.
func (d *deadLetters) write(ctx context.Context, r *kgo.Record, f failure) error {
	acked := make(chan error, 1) // The promise must not block.
	d.client.Produce(context.WithoutCancel(ctx), d.record(r, f), func(_ *kgo.Record, err error) { acked <- err })
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case err := <-acked:
		if errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID) {
			// Deleted: the client knows the topic by its old ID until it is purged.
			d.client.PurgeTopicsFromProducing(d.opts.DeadLetter)
			err = errors.Join(err, ensureDeadLetter(ctx, kadm.NewClient(d.client), d.opts, d.maxBytes))
		}
		if err != nil {
			return fmt.Errorf("produce to dead-letter topic %q: %w", d.opts.DeadLetter, err)
		}
		return nil
	}
}

// ensureDeadLetter creates the topic if it is missing and notes its message
// limit. It is created by request, never by auto-creation, with settings that
// keep its records.
func ensureDeadLetter(ctx context.Context, admin *kadm.Client, o *Options, maxBytes *atomic.Int32) error {
	topic := o.DeadLetter
	limits, err := messageLimits(ctx, admin, append([]string{topic}, o.Topics...))
	if err != nil {
		return fmt.Errorf("read settings of dead-letter topic %q: %w", topic, err)
	}
	need := defaultMaxMessage
	for _, t := range o.Topics {
		need = max(need, limits[t]+deadLetterOverhead)
	}
	have, exists := limits[topic]
	if !exists {
		configs := map[string]*string{
			"cleanup.policy":         kadm.StringPtr("delete"),
			"retention.ms":           kadm.StringPtr("-1"),
			"retention.bytes":        kadm.StringPtr("-1"),
			"message.timestamp.type": kadm.StringPtr("CreateTime"),
			"max.message.bytes":      kadm.StringPtr(strconv.Itoa(need)),
		}
		if o.DeadLetterReplication >= 3 {
			configs["min.insync.replicas"] = kadm.StringPtr("2")
		}
		resp, err := admin.CreateTopics(ctx, deadLetterPartitions, o.DeadLetterReplication, configs, topic)
		if err == nil {
			err = resp[topic].Err
		}
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("create dead-letter topic %q: %w (create it by hand, with retention.ms=-1)", topic, err)
		}
		have = need
		o.Logger.InfoContext(ctx, "created dead-letter topic", "group", o.Group, "topic", topic)
	}
	if have < need {
		o.Logger.WarnContext(ctx, "dead-letter topic takes smaller records than the topics read: a large event that fails would hold its partition; raise its max.message.bytes",
			"group", o.Group, "topic", topic, "max_message_bytes", have, "want", need)
	}
	maxBytes.Store(int32(min(have, 100<<20))) // kgo writes at most 100 MiB.
	return nil
}

// messageLimits returns max.message.bytes of those topics that exist.
func messageLimits(ctx context.Context, admin *kadm.Client, topics []string) (map[string]int, error) {
	configs, err := admin.DescribeTopicConfigs(ctx, topics...)
	if err != nil {
		return nil, err
	}
	limits := make(map[string]int, len(configs))
	for _, c := range configs {
		if errors.Is(c.Err, kerr.UnknownTopicOrPartition) {
			continue
		}
		if c.Err != nil {
			return nil, fmt.Errorf("describe topic %q: %w", c.Name, c.Err)
		}
		limits[c.Name] = defaultMaxMessage
		for _, kv := range c.Configs {
			if kv.Key != "max.message.bytes" || kv.Value == nil {
				continue
			}
			if n, err := strconv.Atoi(*kv.Value); err == nil {
				limits[c.Name] = n
			}
		}
	}
	return limits, nil
}
