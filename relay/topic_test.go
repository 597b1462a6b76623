package relay_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"hooklog/relay"
)

// TestTopicDeleted: a topic that goes while the relay runs comes back, made by
// somebody or by the relay; what the old one held is not known any more.
func TestTopicDeleted(t *testing.T) {
	for name, remake := range map[string]func(t *testing.T, k *kfake.Cluster){
		"and made by the relay": func(*testing.T, *kfake.Cluster) {},
		"and made by somebody": func(t *testing.T, k *kfake.Cluster) {
			if err := k.CreateTopic(topicName, 1, map[string]string{"max.message.bytes": "2000000"}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := startKafka(t)
			r := start(t, k, func(o *relay.Options) {
				o.Topics.Partitions = 1
				o.Sources[0].Deadline = time.Second
			})
			old := &promises{places: make(map[string]string)}
			for i := range 10 {
				old.insist(t, r, fmt.Sprint("msg_", i))
			}
			if err := k.DeleteTopic(topicName); err != nil {
				t.Fatal(err)
			}
			remake(t, k)
			eventually(t, func() error {
				if !old.try(t, r, "msg_new") {
					return errors.New("no 2xx yet")
				}
				return nil
			})
			r.awaitReady(t)
			renewed := &promises{places: make(map[string]string)}
			for i := range 10 {
				renewed.insist(t, r, fmt.Sprint("msg_", i))
			}
			renewed.insist(t, r, "msg_new")
			r.checkSettled(t)
			checkTopic(t, k, renewed.places)
		})
	}
}

// TestPartitionsAdded: when a topic gets more partitions an ID lands in another
// one, and is known all the same: also what others write there, and after the
// index was lost.
func TestPartitionsAdded(t *testing.T) {
	k := startKafka(t)
	dir := filepath.Join(t.TempDir(), "index")
	o := func(o *relay.Options) { o.Dir, o.Topics.Partitions = dir, 2 }
	r := start(t, k, o)
	kept := &promises{places: make(map[string]string)}
	for i := range 20 {
		kept.insist(t, r, fmt.Sprint("msg_", i))
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(k.ListenAddrs()...), kgo.MetadataMinAge(10*time.Millisecond), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).UpdatePartitions(t.Context(), 7, topicName); err != nil {
		t.Fatal(err)
	}
	foreign := foreignRecord("msg_foreign", time.Now())
	foreign.Partition = 6
	if err := client.ProduceSync(t.Context(), foreign).FirstErr(); err != nil {
		t.Fatal(err)
	}
	kept.places["msg_foreign"] = topicName + "/6@0"
	eventually(t, func() error {
		if got := r.Lookup("demo", "msg_foreign"); got != kept.places["msg_foreign"] {
			return fmt.Errorf("msg_foreign is at %q, want %q", got, kept.places["msg_foreign"])
		}
		return nil
	})
	// The producer learns of them as its metadata ages; what was accepted before
	// stays known wherever its ID would land now.
	check := func(when string) {
		t.Helper()
		for id, place := range kept.places {
			if a := r.post(t, demoSource(t), id, bodyOf(1)); a.status != 200 || a.code(t) != "duplicate" || a.place(t) != place {
				t.Errorf("%s: %s again: %v, want a duplicate at %s", when, id, a, place)
			}
		}
	}
	check("after partitions were added")
	stop(t, r)
	r = start(t, k, o) // its producer knows all partitions from the start
	check("after a restart")
	for i := range 60 {
		kept.insist(t, r, fmt.Sprint("msg_later_", i))
	}
	seen := make(map[string]bool)
	for _, place := range kept.places {
		partition, _, _ := strings.Cut(place, "@")
		seen[partition] = true
	}
	if len(seen) != 7 {
		t.Errorf("events lie in %d partitions, want 7", len(seen))
	}
	stop(t, r)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	r = start(t, k, o)
	check("after the index was lost")
	checkTopic(t, k, kept.places)
}

// TestTopicSettings: a topic that would break a guarantee is refused by the
// name of its setting, any other difference is named and served.
func TestTopicSettings(t *testing.T) {
	for _, c := range []struct {
		name    string
		configs map[string]string
		fatal   []string
		warned  []string
	}{
		{"compacted", map[string]string{"cleanup.policy": "compact"}, []string{`"webhooks"`, "cleanup.policy", "compact"}, nil},
		{"compacted and deleted", map[string]string{"cleanup.policy": "compact,delete"}, []string{"cleanup.policy"}, nil},
		{"small", map[string]string{"max.message.bytes": "1000000"}, []string{"max.message.bytes", "max_body", "1000000"}, nil},
		{"forgetful", map[string]string{"max.message.bytes": "2000000", "retention.ms": "3600000"}, nil, []string{"setting=retention.ms", "setting=partitions"}},
		{"timed by brokers", map[string]string{"max.message.bytes": "2000000", "message.timestamp.type": "LogAppendTime"}, nil, []string{"setting=message.timestamp.type"}},
		{"large", map[string]string{"max.message.bytes": "2147483647"}, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := startKafka(t)
			if err := k.CreateTopic(topicName, 3, c.configs); err != nil {
				t.Fatal(err)
			}
			var log lines
			r := newRelay(t, k, func(o *relay.Options) { o.Logger = log.logger() })
			if c.fatal == nil {
				r.run(t)
				r.awaitReady(t)
				if a := r.post(t, demoSource(t), "msg_1", strings.Repeat("x", relay.DefaultMaxBody)); a.status != 200 {
					t.Errorf("the largest body: %v, want 200", a)
				}
				for _, want := range c.warned {
					if !strings.Contains(log.String(), want) {
						t.Errorf("%q is not in the log:\n%s", want, log.String())
					}
				}
				return
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			err := r.Run(ctx)
			for _, want := range c.fatal {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("Run = %v, want it to name %s", err, want)
				}
			}
		})
	}
}

// TestTopicMade is how the relay makes a topic that is missing.
func TestTopicMade(t *testing.T) {
	k := startKafka(t)
	start(t, k, func(o *relay.Options) {
		o.Topics = relay.TopicSettings{Partitions: 2, Retention: time.Hour}
		o.Sources[0].MaxBody = 3 << 20
	})
	info := k.TopicInfo(topicName)
	if info == nil || info.NumReplicas != 1 || k.PartitionInfo(topicName, 1) == nil || k.PartitionInfo(topicName, 2) != nil {
		t.Fatalf("the topic is %+v, want 2 partitions with 1 replica", info)
	}
	for name, want := range map[string]string{
		"cleanup.policy": "delete", "retention.ms": "3600000", "message.timestamp.type": "CreateTime", "max.message.bytes": fmt.Sprint(3<<20 + 4<<10 + 3*relay.DefaultHeaderBytes),
	} {
		if got := info.Configs[name]; got == nil || *got != want {
			t.Errorf("%s is %v, want %s", name, got, want)
		}
	}
}
