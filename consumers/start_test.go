package consumers_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"hooklog/consumers"
	"hooklog/schemas"
)

// stopped waits until a partition stands still, and returns why.
func (r *running) stopped(t *testing.T, partition int32) string {
	t.Helper()
	var why string
	eventually(t, func() error {
		st := r.Status()
		for _, p := range st.Partitions {
			if p.Partition == partition && p.Stopped != "" {
				why = p.Stopped
				return nil
			}
		}
		return fmt.Errorf("partition %d is not stopped: %+v", partition, st)
	})
	return why
}

func TestStart(t *testing.T) {
	begin := time.Now().Add(-time.Hour).Truncate(time.Second)
	for _, c := range []struct {
		name  string
		start consumers.Start
		want  []string
	}{
		{"earliest", consumers.Start{}, []string{"0", "1", "2", "new"}},
		{"latest", consumers.Start{Latest: true}, []string{"new"}},
		{"time", consumers.Start{Time: begin.Add(time.Minute)}, []string{"1", "2", "new"}},
		{"time to come", consumers.Start{Time: time.Now().Add(time.Hour)}, []string{"new"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLog(t, 1)
			for i := range 3 {
				ev := event(fmt.Sprint(i), "x")
				ev.Received = begin.Add(time.Duration(i) * time.Minute)
				l.putRecord(schemas.Encode(ev, topic))
			}
			var s seen
			o := l.options(consumers.Route{Handler: s.handler(nil)})
			o.Start = c.start
			g := run(t, o)
			eventually(t, func() error {
				if len(g.Status().Partitions) == 0 {
					return errors.New("no partition is assigned")
				}
				return nil
			})
			l.put(0, "new", "x")
			s.want(t, c.want...)
			l.wantCommitted("g", 0, 4)
		})
	}
}

// A group that saw nothing yet has its start all the same: what comes while it
// is away is not skipped.
func TestLatestIsDecidedOnce(t *testing.T) {
	l := newLog(t, 2)
	l.put(0, "before", "x")
	var s seen
	o := l.options(consumers.Route{Handler: s.handler(nil)})
	o.Start.Latest = true
	g := run(t, o)
	l.wantCommitted("g", 0, 1)
	l.wantCommitted("g", 1, 0)
	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	l.put(0, "away", "x")
	l.put(1, "away too", "x")
	o.Dir = t.TempDir() // Another machine: the broker knows the group.
	run(t, o)
	s.want(t, "away", "away too")
}

func TestLostOffsets(t *testing.T) {
	deleteGroup := func(l *log) error {
		_, err := l.admin.DeleteGroup(l.ctx(), "g")
		return err
	}
	for _, c := range []struct {
		name string
		lose func(*log) error
		want string // in the error
		gone float64
		rest []string // what is handled with on_lost_offset: earliest
	}{
		{"expired", deleteGroup, "lost its committed offset of webhooks/0", 0, []string{"0", "1", "2", "3", "4"}},
		{"retention", func(l *log) error {
			_, err := l.admin.DeleteRecords(l.ctx(), kadm.Offsets{topic: {0: {Topic: topic, Partition: 0, At: 4}}})
			return err
		}, "it had got to offset 2 and the log begins at 4, 2 records are gone", 2, []string{"4"}},
		{"truncated", func(l *log) error {
			return l.admin.CommitAllOffsets(l.ctx(), "g", kadm.Offsets{topic: {0: {Topic: topic, Partition: 0, At: 99, LeaderEpoch: -1}}})
		}, "has the committed offset 99 of webhooks/0 and the log ends at 5", 0, []string{"0", "1", "2", "3", "4"}},
	} {
		for _, onLost := range []consumers.LostOffset{consumers.LostOffsetStop, consumers.LostOffsetEarliest} {
			t.Run(fmt.Sprintf("%s %d", c.name, onLost), func(t *testing.T) {
				t.Parallel()
				l := newLog(t, 2)
				l.put(0, "0", "x")
				l.put(0, "1", "x")
				var first, second seen
				o := l.options(consumers.Route{Handler: first.handler(nil)})
				g := run(t, o)
				l.wantCommitted("g", 0, 2)
				l.wantCommitted("g", 1, 0)
				if err := g.stop(); err != nil {
					t.Fatal(err)
				}
				for i := 2; i < 5; i++ {
					l.put(0, fmt.Sprint(i), "x")
				}
				if err := c.lose(l); err != nil {
					t.Fatal(err)
				}
				l.put(1, "other", "x")
				reg := prometheus.NewRegistry()
				o.Routes[0].Handler, o.OnLostOffset, o.Registerer = second.handler(nil), onLost, reg
				g = run(t, o)
				if onLost == consumers.LostOffsetEarliest {
					second.want(t, append(c.rest, "other")...)
					l.wantCommitted("g", 0, 5)
					return
				}
				if why := g.stopped(t, 0); !strings.Contains(why, c.want) || !strings.Contains(why, "group seek") {
					t.Errorf("stopped because %q, want %q and what to do", why, c.want)
				}
				if c.name == "expired" { // So has the other partition's.
					g.stopped(t, 1)
				} else {
					second.want(t, "other")
				}
				wantMetric(t, reg, `hooklog_consumer_stopped_partitions{group="g",partition="0",topic="webhooks"}`, 1)
				wantMetric(t, reg, `hooklog_consumer_lost_records_total{group="g",partition="0",topic="webhooks"}`, c.gone)
			})
		}
	}
}

// Retention overtakes a group that is running: what was fetched is handled, then
// the partition stops and names what it missed.
func TestRetentionOvertakesTheGroup(t *testing.T) {
	for _, onLost := range []consumers.LostOffset{consumers.LostOffsetStop, consumers.LostOffsetEarliest} {
		t.Run(fmt.Sprint(onLost), func(t *testing.T) {
			t.Parallel()
			l := newLog(t, 2)
			const n = 4 * consumers.QueueRecords
			records := make([]*kgo.Record, n)
			for i := range records {
				ev := event(fmt.Sprint(i), "x")
				ev.Body = make([]byte, 2000)
				records[i] = schemas.Encode(ev, topic)
			}
			if err := l.client.ProduceSync(l.ctx(), records...).FirstErr(); err != nil {
				t.Fatal(err)
			}
			gate := make(chan struct{})
			o := l.options(consumers.Route{Handler: gated(gate)})
			o.OnLostOffset = onLost
			g := run(t, o)
			eventually(t, func() error {
				for _, p := range g.Status().Partitions {
					if p.Paused {
						return nil
					}
				}
				return errors.New("not paused")
			})
			const begin = n - 10
			if _, err := l.admin.DeleteRecords(l.ctx(), kadm.Offsets{topic: {0: {Topic: topic, Partition: 0, At: begin}}}); err != nil {
				t.Fatal(err)
			}
			close(gate)
			if onLost == consumers.LostOffsetEarliest {
				l.wantCommitted("g", 0, n)
				return
			}
			why := g.stopped(t, 0)
			_, rest, _ := strings.Cut(why, "it had got to offset ")
			var fetched, from, gone int64
			if _, err := fmt.Sscanf(rest, "%d and the log begins at %d, %d records are gone", &fetched, &from, &gone); err != nil || from != begin || gone != begin-fetched {
				t.Errorf("stopped because %q (%v), want the gap up to %d", why, err, begin)
			}
			l.wantCommitted("g", 0, fetched)
			if p := g.Status().Partitions[0]; !p.Paused {
				t.Errorf("the stopped partition is still fetched: %+v", p)
			}
			l.put(1, "other", "x")
			l.wantCommitted("g", 1, 1)
		})
	}
}

// The broker says that the log was truncated below what was committed, though
// offsets go on: the client moves by itself, and what it then brings must not be
// handled.
func TestTruncationByEpochStops(t *testing.T) {
	l := newLog(t, 2)
	var first, second seen
	for i := range 3 {
		l.put(0, fmt.Sprint(i), "x")
	}
	o := l.options(consumers.Route{Handler: first.handler(nil)})
	g := run(t, o)
	l.wantCommitted("g", 0, 3)
	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	l.cluster.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		l.cluster.KeepControl()
		r := req.(*kmsg.OffsetForLeaderEpochRequest)
		resp := r.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
		for _, rt := range r.Topics {
			st := kmsg.NewOffsetForLeaderEpochResponseTopic()
			st.Topic = rt.Topic
			for _, rp := range rt.Partitions {
				sp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
				sp.Partition, sp.EndOffset, sp.LeaderEpoch = rp.Partition, 1, rp.LeaderEpoch
				st.Partitions = append(st.Partitions, sp)
			}
			resp.Topics = append(resp.Topics, st)
		}
		return resp, nil, true
	})
	o.Routes[0].Handler = second.handler(nil)
	g = run(t, o)
	if why := g.stopped(t, 0); !strings.Contains(why, "had got to offset 3 of webhooks/0, and the log was truncated at 1") {
		t.Errorf("stopped because %q", why)
	}
	l.put(0, "more", "x")
	l.put(1, "other", "x")
	second.want(t, "other")
	l.wantCommitted("g", 1, 1)
	if got := l.committed("g", 0); got != 3 {
		t.Errorf("committed offset is %d, want 3", got)
	}
}

func TestNewPartitionsStartAtTheirBeginning(t *testing.T) {
	l := newLog(t, 1)
	var s seen
	o := l.options(consumers.Route{Handler: s.handler(nil)})
	o.Start.Latest = true
	l.put(0, "before", "x")
	g := run(t, o)
	l.wantCommitted("g", 0, 1)
	if _, err := l.admin.UpdatePartitions(l.ctx(), 3, topic); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		d, err := l.admin.ListTopics(l.ctx(), topic)
		if err != nil || len(d[topic].Partitions) != 3 {
			return fmt.Errorf("%v: %d partitions", err, len(d[topic].Partitions))
		}
		return nil
	})
	p, err := kgo.NewClient(append(l.seeds(), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	r := schemas.Encode(event("first of partition 2", "x"), topic)
	r.Partition = 2
	if err := p.ProduceSync(l.ctx(), r).FirstErr(); err != nil {
		t.Fatal(err)
	}
	s.want(t, "first of partition 2")
	l.wantCommitted("g", 2, 1)
	l.wantCommitted("g", 1, 0)
	// From now on it is known: losing its offset stops it.
	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.admin.DeleteOffsets(l.ctx(), "g", kadm.TopicsSet{topic: {2: {}}}); err != nil {
		t.Fatal(err)
	}
	if why := run(t, o).stopped(t, 2); !strings.Contains(why, "webhooks/2") {
		t.Error(why)
	}
}

// A topic that is missing is waited for, and read from its beginning.
func TestTopicComesLater(t *testing.T) {
	l := newLog(t, 1)
	var s seen
	o := l.options(consumers.Route{Handler: s.handler(nil)})
	o.Topics, o.Start.Latest = []string{"later"}, true
	run(t, o)
	eventually(t, func() error {
		_, err := os.Stat(filepath.Join(o.Dir, "group.json"))
		return err
	})
	if _, err := l.admin.CreateTopic(l.ctx(), 1, 1, nil, "later"); err != nil {
		t.Fatal(err)
	}
	l.putRecord(schemas.Encode(event("a", "x"), "later"))
	s.want(t, "a")
}

// A topic that is deleted and made anew is read from its beginning, without a
// restart.
func TestTopicIsMadeAnew(t *testing.T) {
	t.Parallel() // The client takes its time to be sure.
	l := newLog(t, 1)
	var s seen
	run(t, l.options(consumers.Route{Handler: s.handler(nil)}))
	l.put(0, "a", "x")
	l.put(0, "b", "x")
	l.wantCommitted("g", 0, 2)
	if _, err := l.admin.DeleteTopic(l.ctx(), topic); err != nil {
		t.Fatal(err)
	}
	if _, err := l.admin.CreateTopic(l.ctx(), 1, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	p, err := kgo.NewClient(l.seeds()...)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, id := range []string{"c", "d", "e"} {
		if err := p.ProduceSync(l.ctx(), schemas.Encode(event(id, "x"), topic)).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	s.want(t, "a", "b", "c", "d", "e")
	l.wantCommitted("g", 0, 3)
}

func TestFoldersBelongToOneGroup(t *testing.T) {
	l := newLog(t, 1)
	o := l.options(consumers.Route{Handler: gated(nil)})
	g := run(t, o)
	eventually(t, func() error {
		_, err := os.Stat(filepath.Join(o.Dir, "group.json"))
		return err
	})
	_ = g.stop()
	o.Group = "other"
	other, err := consumers.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Run(t.Context()); err == nil || !strings.Contains(err.Error(), `belongs to group "g"`) {
		t.Errorf("Run returned %v, want whose folder it is", err)
	}
}
