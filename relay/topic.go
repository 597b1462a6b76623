package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"hooklog/schemas"
)

const (
	defaultPartitions  = 6
	defaultReplication = 1
	// brokerMaxMessage is the default of Kafka's message.max.bytes; topics are
	// not made with less.
	brokerMaxMessage = 1048588
)

// topicError is a topic that cannot serve: waiting does not help, the
// configuration or the topic has to change.
type topicError struct{ err error }

func (e topicError) Error() string { return e.err.Error() }
func (e topicError) Unwrap() error { return e.err }

// ensureTopics makes the topics that are missing, by request, and compares
// those that exist with what the guarantees need. It returns each topic's
// largest batch in bytes.
func ensureTopics(ctx context.Context, adm *kadm.Client, want map[string]int, o *Options, log *slog.Logger) (map[string]int32, error) {
	batch := make(map[string]int32, len(want))
	for topic, maxBody := range want {
		n, err := ensureTopic(ctx, adm, topic, maxBody, o, log)
		if err != nil {
			return nil, fmt.Errorf("topic %q: %w", topic, err)
		}
		batch[topic] = n
	}
	return batch, nil
}

// remakeMissing makes those of the topics that are missing.
func remakeMissing(ctx context.Context, adm *kadm.Client, want map[string]int, o *Options, log *slog.Logger) error {
	for topic, maxBody := range want {
		_, err := topicConfig(ctx, adm, topic)
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			err = createTopic(ctx, adm, topic, topicBytes(maxBody, o), &o.Topics)
			if err == nil {
				log.Warn("topic was deleted and is made again", "topic", topic)
			}
		}
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("topic %q: %w", topic, err)
		}
	}
	return nil
}

// recordBytes is how large a record with a body of that size may be, and
// topicBytes what a topic for it is made with.
func recordBytes(maxBody int, o *Options) int {
	return maxBody + schemas.OverheadBytes(o.Limits.HeaderBytes)
}

func topicBytes(maxBody int, o *Options) int { return max(recordBytes(maxBody, o), brokerMaxMessage) }

func ensureTopic(ctx context.Context, adm *kadm.Client, topic string, maxBody int, o *Options, log *slog.Logger) (int32, error) {
	t := &o.Topics
	existing, err := topicConfig(ctx, adm, topic)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		size := topicBytes(maxBody, o)
		err = createTopic(ctx, adm, topic, size, t)
		if err == nil {
			log.Info("topic made", "topic", topic, "partitions", t.Partitions, "replication", t.Replication)
			return int32(size), nil
		}
		if errors.Is(err, kerr.TopicAlreadyExists) { // another relay was faster
			existing, err = topicConfig(ctx, adm, topic)
		}
	}
	if err != nil {
		return 0, err
	}
	return existing.compare(topic, recordBytes(maxBody, o), t, log)
}

func createTopic(ctx context.Context, adm *kadm.Client, topic string, maxMessage int, t *TopicSettings) error {
	retention := int64(-1)
	if t.Retention > 0 {
		retention = t.Retention.Milliseconds()
	}
	configs := map[string]*string{
		"cleanup.policy":         kadm.StringPtr("delete"),
		"retention.ms":           kadm.StringPtr(strconv.FormatInt(retention, 10)),
		"message.timestamp.type": kadm.StringPtr("CreateTime"),
		"max.message.bytes":      kadm.StringPtr(strconv.Itoa(maxMessage)),
	}
	if t.Replication >= 3 {
		configs["min.insync.replicas"] = kadm.StringPtr("2")
	}
	resp, err := adm.CreateTopic(ctx, t.Partitions, t.Replication, configs, topic)
	if err != nil {
		return fmt.Errorf("make topic: %w", err)
	}
	if resp.Err != nil {
		return fmt.Errorf("make topic: %w: %s", resp.Err, resp.ErrMessage)
	}
	return nil
}

// foundTopic is what exists.
type foundTopic struct {
	partitions, replicas int
	configs              map[string]string
}

func topicConfig(ctx context.Context, adm *kadm.Client, topic string) (*foundTopic, error) {
	topics, err := adm.ListTopics(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("look for topic: %w", err)
	}
	detail := topics[topic]
	if detail.Err != nil {
		return nil, detail.Err
	}
	found := &foundTopic{partitions: len(detail.Partitions), replicas: detail.Partitions.NumReplicas(), configs: make(map[string]string)}
	described, err := adm.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("describe topic: %w", err)
	}
	rc, err := described.On(topic, nil)
	if err != nil {
		return nil, fmt.Errorf("describe topic: %w", err)
	}
	if rc.Err != nil {
		return nil, fmt.Errorf("describe topic: %w", rc.Err)
	}
	for _, c := range rc.Configs {
		found.configs[c.Key] = c.MaybeValue()
	}
	return found, nil
}

// compare refuses what breaks a guarantee and warns of the rest, each by the
// name of its setting.
func (f *foundTopic) compare(topic string, need int, t *TopicSettings, log *slog.Logger) (int32, error) {
	if p := f.configs["cleanup.policy"]; p != "delete" && p != "" {
		return 0, topicError{fmt.Errorf("cleanup.policy is %q, want \"delete\": compaction removes first copies and history", p)}
	}
	size, err := strconv.Atoi(f.configs["max.message.bytes"])
	if err != nil {
		return 0, fmt.Errorf("max.message.bytes is %q: %w", f.configs["max.message.bytes"], err)
	}
	if size < need {
		return 0, topicError{fmt.Errorf(
			"max.message.bytes is %d, but max_body with limits.header_bytes needs %d: raise the topic's setting or lower max_body", size, need)}
	}
	warn := func(setting, is, want string) {
		log.Warn("topic differs from the configuration", "topic", topic, "setting", setting, "is", is, "want", want)
	}
	if is := f.configs["message.timestamp.type"]; is != "" && is != "CreateTime" {
		warn("message.timestamp.type", is, "CreateTime")
	}
	want := int64(-1)
	if t.Retention > 0 {
		want = t.Retention.Milliseconds()
	}
	if is := f.configs["retention.ms"]; is != "" && is != strconv.FormatInt(want, 10) {
		warn("retention.ms", is, strconv.FormatInt(want, 10))
	}
	if is := f.configs["min.insync.replicas"]; f.replicas >= 3 && (is == "1" || is == "") {
		warn("min.insync.replicas", "1", "2")
	}
	if f.partitions != int(t.Partitions) {
		warn("partitions", strconv.Itoa(f.partitions), strconv.Itoa(int(t.Partitions)))
	}
	if f.replicas != int(t.Replication) {
		warn("replication", strconv.Itoa(f.replicas), strconv.Itoa(int(t.Replication)))
	}
	// More would be allowed, but one batch must fit the client's request.
	return int32(min(size, max(need, brokerMaxMessage))), nil
}

// topicRetry is how long the brokers are left alone between two tries.
const topicRetry = 500 * time.Millisecond
