package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"hooklog/consumers"
	"hooklog/schemas"
)

func poison() consumers.Route {
	return consumers.HandleFunc("*", func(context.Context, schemas.Event) error {
		return consumers.Permanent(errors.New("no"))
	})
}

func TestDeadLetterTopic(t *testing.T) {
	l := newLog(t, 1)
	name, value := "max.message.bytes", "3000000"
	if _, err := l.admin.AlterTopicConfigs(l.ctx(), []kadm.AlterConfig{{Name: name, Value: &value}}, topic); err != nil {
		t.Fatal(err)
	}
	l.put(0, "a", "x")
	run(t, l.options(poison()))
	l.wantCommitted("g", 0, 1)
	if r := l.read("g.dead", 1)[0]; string(r.Key) != "a" {
		t.Errorf("dead letter is %q, want a", r.Key)
	}
	configs, err := l.admin.DescribeTopicConfigs(l.ctx(), "g.dead")
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, kv := range configs[0].Configs {
		got[kv.Key] = kv.MaybeValue()
	}
	for k, want := range map[string]string{"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete", "max.message.bytes": "3004096"} {
		if got[k] != want {
			t.Errorf("dead-letter topic has %s %q, want %q", k, got[k], want)
		}
	}
}

func TestUndecodableRecordsAreDeadLettered(t *testing.T) {
	l := newLog(t, 1)
	for _, r := range []*kgo.Record{
		{Key: []byte("k"), Value: []byte("junk"), Headers: []kgo.RecordHeader{{Key: "x", Value: []byte("1")}, {Key: "x", Value: []byte("2")}}},
		{Key: []byte("tombstone")},
		{Value: []byte{}},
	} {
		r.Topic = topic
		l.putRecord(r)
	}
	run(t, l.options(poison()))
	l.wantCommitted("g", 0, 3)
	dead := l.read("g.dead", 3)
	slices.SortFunc(dead, func(a, b *kgo.Record) int {
		return slices.Compare([]byte(header(a, "hooklog_origin_offset")), []byte(header(b, "hooklog_origin_offset")))
	})
	for i, want := range []string{`"k" "junk"`, `"tombstone" nil`, `nil ""`} {
		text := func(b []byte) string {
			if b == nil {
				return "nil"
			}
			return fmt.Sprintf("%q", b)
		}
		if got := text(dead[i].Key) + " " + text(dead[i].Value); got != want {
			t.Errorf("dead letter %d is %s, want %s", i, got, want)
		}
		if got := header(dead[i], "hooklog_error_class") + header(dead[i], "hooklog_route") + header(dead[i], "hooklog_attempts"); got != "not_event0" {
			t.Errorf("dead letter %d is of class, route and attempts %q", i, got)
		}
	}
	if h := dead[0].Headers; h[0].Key != "x" || string(h[0].Value) != "1" || h[1].Key != "x" || string(h[1].Value) != "2" {
		t.Errorf("dead letter begins with the headers %v, want the original's", h[:2])
	}
}

// What fails again keeps where it first lay, and says how it failed last.
func TestDeadLettersOfDeadLetters(t *testing.T) {
	l := newLog(t, 1)
	l.put(0, "a", "x")
	run(t, l.options(poison()))
	o := l.options(poison())
	o.Group, o.Topics = "again", []string{"g.dead"}
	run(t, o)
	r := l.read("again.dead", 1)[0]
	count := make(map[string]int)
	for _, h := range r.Headers {
		count[h.Key]++
	}
	for k, n := range count {
		if n != 1 {
			t.Errorf("header %s is there %d times", k, n)
		}
	}
	if got := header(r, "hooklog_origin_topic") + " " + header(r, "hooklog_group"); got != topic+" again" {
		t.Errorf("origin and group are %q", got)
	}
}

// The offset moves only after the dead letter's own ack.
func TestDeadLetterThatIsNotAcknowledgedHoldsTheOffset(t *testing.T) {
	l := newLog(t, 2)
	var refused atomic.Int32
	var open atomic.Bool
	// Produce requests name topics by ID.
	topics, err := l.admin.ListTopics(l.ctx(), topic)
	if err != nil {
		t.Fatal(err)
	}
	id := [16]byte(topics[topic].ID)
	l.cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		l.cluster.KeepControl()
		if open.Load() {
			return nil, nil, false
		}
		r := req.(*kmsg.ProduceRequest)
		resp := r.ResponseKind().(*kmsg.ProduceResponse)
		for _, rt := range r.Topics {
			if rt.TopicID == id {
				return nil, nil, false
			}
			st := kmsg.NewProduceResponseTopic()
			st.Topic, st.TopicID = rt.Topic, rt.TopicID
			for _, rp := range rt.Partitions {
				sp := kmsg.NewProduceResponseTopicPartition()
				sp.Partition, sp.ErrorCode = rp.Partition, kerr.TopicAuthorizationFailed.Code
				st.Partitions = append(st.Partitions, sp)
			}
			resp.Topics = append(resp.Topics, st)
		}
		refused.Add(1)
		return resp, nil, true
	})
	var s seen
	l.put(0, "bad", "bad")
	l.put(0, "good", "good")
	l.put(1, "other", "good")
	o := l.options(consumers.Route{Handler: s.handler(func(_ context.Context, ev schemas.Event) error {
		if ev.Type == "bad" {
			return consumers.Permanent(errors.New("no"))
		}
		return nil
	})})
	run(t, o)
	eventually(t, func() error {
		if refused.Load() < 3 {
			return fmt.Errorf("%d produce requests were refused, want 3", refused.Load())
		}
		return nil
	})
	s.want(t, "bad", "good", "other")
	l.wantCommitted("g", 1, 1)
	if got := l.committed("g", 0); got != 0 {
		t.Errorf("committed offset is %d before the dead letter's ack, want 0", got)
	}
	open.Store(true)
	l.wantCommitted("g", 0, 2)
	if n := len(l.read("g.dead", 1)); n != 1 {
		t.Errorf("%d dead letters, want 1", n)
	}
	s.want(t, "bad", "good", "other") // The handler did not run again.
}

func TestDeletedDeadLetterTopicIsMadeAgain(t *testing.T) {
	l := newLog(t, 1)
	run(t, l.options(poison()))
	l.put(0, "a", "x")
	l.wantCommitted("g", 0, 1)
	if _, err := l.admin.DeleteTopic(l.ctx(), "g.dead"); err != nil {
		t.Fatal(err)
	}
	l.put(0, "b", "x")
	l.wantCommitted("g", 0, 2)
	if r := l.read("g.dead", 1)[0]; string(r.Key) != "b" {
		t.Errorf("dead letter is %q, want b", r.Key)
	}
}

func TestDeadLetterTopicThatCannotBeMade(t *testing.T) {
	l := newLog(t, 1)
	o := l.options(poison())
	var refused atomic.Int32
	l.cluster.ControlKey(int16(kmsg.CreateTopics), func(req kmsg.Request) (kmsg.Response, error, bool) {
		refused.Add(1)
		resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
		rt := kmsg.NewCreateTopicsResponseTopic()
		rt.Topic, rt.ErrorCode = "g.dead", kerr.InvalidReplicationFactor.Code
		resp.Topics = append(resp.Topics, rt)
		return resp, nil, true
	})
	l.put(0, "a", "x")
	g := run(t, o)
	eventually(t, func() error {
		if got := g.Status().Error; got == "" {
			return errors.New("no error in the status")
		}
		return nil
	})
	l.wantCommitted("g", 0, 1) // The next session has made it.
	if got := g.Status().Error; got != "" {
		t.Errorf("status still has the error %q", got)
	}
}
