package follow_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"hooklog/relay/follow"
	"hooklog/relay/index"
	"hooklog/schemas"
)

// verify compares what a stopped follower has left in fs with the topics.
func verify(t *testing.T, c *kfake.Cluster, fs *vfs.MemFS, windowOf func(schemas.SourceName) time.Duration, change func(x *index.Index, ref index.TopicRef)) []follow.Comparison {
	t.Helper()
	x, err := index.Open(index.Options{Dir: "index", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	}()
	if change != nil {
		change(x, x.Topics()[0].Ref)
	}
	var last follow.Progress
	got, err := follow.Verify(t.Context(), follow.Options{
		Client: []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}, Index: x, WindowOf: windowOf,
	}, func(p follow.Progress) { last = p })
	if err != nil {
		t.Fatal(err)
	}
	if last.Read != last.Total {
		t.Errorf("progress ended at %v, want all", last)
	}
	return got
}

func checkComparison(t *testing.T, got []follow.Comparison, want follow.Comparison) {
	t.Helper()
	want.Topic = topic
	if diff := cmp.Diff([]follow.Comparison{want}, got, cmpopts.IgnoreFields(follow.Comparison{}, "Examples")); diff != "" {
		t.Errorf("comparison (-want +got):\n%s", diff)
	}
}

func put(t *testing.T, x *index.Index, facts []index.Fact, marks ...index.Checkpoint) {
	t.Helper()
	if _, err := x.Apply(facts, marks); err != nil {
		t.Fatal(err)
	}
}

// TestVerify compares an index that is true to its topic, and then with each
// kind of fault.
func TestVerify(t *testing.T) {
	c := startKafka(t, 2, kfake.NumBrokers(2))
	cl := newClient(t, c)
	fs := vfs.NewMem()
	r := startCaughtUp(t, c, fs)
	if err := r.Commit(ownOf(produce(t, cl, 0, 0, 30))); err != nil {
		t.Fatal(err)
	}
	produce(t, cl, 1, 100, 140)
	produce(t, cl, 1, 100, 103) // copies
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Partition: 0, Key: []byte("k"), Value: []byte("none of ours")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	r.wantKnown(t, 0, 30)
	r.wantKnown(t, 100, 140)
	r.wantLow(t, 31)
	r.stop()
	good := follow.Comparison{Records: 73, Copies: 3}
	checkComparison(t, verify(t, c, fs, nil, nil), good)

	t.Run("missing", func(t *testing.T) {
		x, err := index.Open(index.Options{Dir: "other", FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = x.Close() }()
		ref, err := x.Topic(topic, index.TopicID(c.TopicInfo(topic).TopicID))
		if err != nil {
			t.Fatal(err)
		}
		put(t, x, nil, index.Checkpoint{Topic: ref, Partition: 0, Offset: 20, Epoch: -1})
		got, err := follow.Verify(t.Context(), follow.Options{Client: []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}, Index: x}, nil)
		if err != nil {
			t.Fatal(err)
		}
		checkComparison(t, got, follow.Comparison{Records: 20, Missing: 20})
		if got[0].OK() || len(got[0].Examples) != 10 || !strings.Contains(got[0].Examples[0], "at 0@0 is not known") {
			t.Errorf("got %+v, want it not OK, with ten examples", got[0])
		}
	})
	t.Run("false", func(t *testing.T) {
		got := verify(t, c, fs, nil, func(x *index.Index, ref index.TopicRef) {
			put(t, x, []index.Fact{
				{Key: key(777), Topic: ref, Partition: 0, Offset: 3, Time: time.Now()},
				{Key: key(778), Topic: ref, Partition: 0, Offset: 30, Time: time.Now()}, // none of ours is there
				{Key: key(779), Topic: ref, Partition: 0, Offset: 31, Time: time.Now()}, // not judged: beyond the checkpoint
			})
		})
		want := good
		want.False = 2
		checkComparison(t, got, want)
		if got[0].OK() || len(got[0].Examples) != 2 {
			t.Errorf("got %+v, want it not OK, with two examples", got[0])
		}
	})
}

// TestVerifyRemoved: what retention has removed is remembered rightly.
func TestVerifyRemoved(t *testing.T) {
	c := startKafka(t, 1)
	cl := newClient(t, c)
	produce(t, cl, 0, 0, 30)
	fs := vfs.NewMem()
	startCaughtUp(t, c, fs).stop()
	offsets := make(kadm.Offsets)
	offsets.Add(kadm.Offset{Topic: topic, Partition: 0, At: 12})
	if _, err := kadm.NewClient(cl).DeleteRecords(t.Context(), offsets); err != nil {
		t.Fatal(err)
	}
	checkComparison(t, verify(t, c, fs, nil, nil), follow.Comparison{Records: 18, Removed: 12})
}

// TestVerifyAgain: an event that came again after its window is in the topic
// twice, and each has its fact.
func TestVerifyAgain(t *testing.T) {
	c := startKafka(t, 1)
	cl := newClient(t, c)
	now := time.Now()
	for _, age := range []time.Duration{20 * 24 * time.Hour, 10*24*time.Hour + time.Minute, 10 * 24 * time.Hour, 0} {
		if err := cl.ProduceSync(t.Context(), record(0, 1, now.Add(-age))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	windowOf := func(schemas.SourceName) time.Duration { return time.Hour }
	fs := vfs.NewMem()
	r := start(t, c, fs, func(o *follow.Options) { o.WindowOf = windowOf })
	r.waitCaughtUp(t)
	r.stop()
	checkComparison(t, verify(t, c, fs, windowOf, nil), follow.Comparison{Records: 4, Copies: 1})
}

// TestVerifyOtherLog: a log that is not the one that was read is said to be so.
func TestVerifyOtherLog(t *testing.T) {
	c := startKafka(t, 1)
	cl := newClient(t, c)
	produce(t, cl, 0, 0, 30)
	fs := vfs.NewMem()
	startCaughtUp(t, c, fs).stop()
	got := verify(t, c, fs, nil, func(x *index.Index, ref index.TopicRef) {
		put(t, x, nil, index.Checkpoint{Topic: ref, Offset: 31, Epoch: -1})
	})
	if got[0].OK() || !strings.Contains(got[0].Problem, "ends at 30, before the checkpoint 31") {
		t.Errorf("a checkpoint beyond the end: got %+v, want a problem", got[0])
	}
	if _, err := kadm.NewClient(cl).DeleteTopics(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	if err := c.CreateTopic(topic, 1, nil); err != nil {
		t.Fatal(err)
	}
	got = verify(t, c, fs, nil, nil)
	if got[0].OK() || !strings.Contains(got[0].Problem, "made anew") {
		t.Errorf("another topic: got %+v, want a problem", got[0])
	}
}

// TestVerifyEnds: it ends with its context, also where brokers do not answer.
func TestVerifyEnds(t *testing.T) {
	c := startKafka(t, 1)
	cl := newClient(t, c)
	produce(t, cl, 0, 0, 30)
	fs := vfs.NewMem()
	startCaughtUp(t, c, fs).stop()
	x, err := index.Open(index.Options{Dir: "index", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = x.Close() }()
	addrs := c.ListenAddrs()
	c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := follow.Verify(ctx, follow.Options{Client: []kgo.Opt{kgo.SeedBrokers(addrs...)}, Index: x}, nil); err == nil {
		t.Error("verify without brokers: no error, want one")
	}
}

func TestProgress(t *testing.T) {
	f := func(p follow.Progress, want string) {
		t.Helper()
		if got := p.String(); got != want {
			t.Errorf("%+v: got %q, want %q", p, got, want)
		}
	}
	f(follow.Progress{Left: -1}, "0 % (0 of 0 records)")
	f(follow.Progress{Read: 430, Total: 1000, Left: 12.4}, "43 % (430 of 1000 records), 12s left")
	f(follow.Progress{Read: 10, Total: 10}, "100 % (10 of 10 records), 0s left")
}
