package follow_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"hooklog/relay/index"
)

// TestRecreated deletes a topic and makes it anew, with records at the same
// offsets: what the old one held is forgotten, the new one is followed.
func TestRecreated(t *testing.T) {
	f := func(name string, whileDown bool, records int) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			c := startKafka(t, 2)
			produce(t, newClient(t, c), 0, 0, 20)
			fs := vfs.NewMem()
			r := startCaughtUp(t, c, fs)
			if whileDown {
				r.stop()
			}
			if err := c.DeleteTopic(topic); err != nil {
				t.Fatal(err)
			}
			if err := c.CreateTopic(topic, 1, nil); err != nil {
				t.Fatal(err)
			}
			cl := newClient(t, c)
			produce(t, cl, 0, 1000, 1000+records)
			if whileDown {
				r = startCaughtUp(t, c, fs)
			}
			r.wantKnown(t, 1000, 1000+records)
			eventually(t, func() error {
				if o := r.offsetOf(t, 3); o >= 0 || !r.CaughtUp() {
					return fmt.Errorf("event 3 of the old topic at %d, caught up %v", o, r.CaughtUp())
				}
				return nil
			})
			r.wantUnknown(t, 0, 20)
			if err := r.Commit(ownOf(produce(t, cl, 0, 5000, 5001))); err != nil {
				t.Fatal(err)
			}
			r.wantLow(t, int64(records)+1)
			if n := r.log.count("lost records"); n != 0 {
				t.Errorf("a new topic was taken for a loss of records %d times", n)
			}
		})
	}
	f("shorter", false, 5)
	f("longer", false, 50)
	f("shorter, while down", true, 5)
	f("longer, while down", true, 50)
}

// TestNotCaughtUpBeforeForgetting watches the two things a request sees: as
// long as CaughtUp is true, an old fact or the new one answers for an event.
func TestNotCaughtUpBeforeForgetting(t *testing.T) {
	c := startKafka(t, 1)
	produce(t, newClient(t, c), 0, 0, 10)
	r := startCaughtUp(t, c, vfs.NewMem())
	stop, wrong := make(chan struct{}), make(chan int, 1)
	go func() {
		defer close(wrong)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			_, known, err := r.index.Lookup(key(i%10), time.Time{})
			if err == nil && !known && r.CaughtUp() {
				if _, known, _ := r.index.Lookup(key(i%10), time.Time{}); !known {
					wrong <- i % 10
					return
				}
			}
		}
	}()
	if err := c.DeleteTopic(topic); err != nil {
		t.Fatal(err)
	}
	if err := c.CreateTopic(topic, 1, nil); err != nil {
		t.Fatal(err)
	}
	produce(t, newClient(t, c), 0, 0, 10)
	eventually(t, func() error {
		if r.log.count("caught up") < 2 {
			return errors.New("not caught up again")
		}
		return nil
	})
	close(stop)
	if i, ok := <-wrong; ok {
		t.Errorf("event %d was unknown while the follower was caught up", i)
	}
}

// mark writes a checkpoint for partition 0 into an index.
func mark(t *testing.T, c *kfake.Cluster, fs *vfs.MemFS, offset int64, epoch int32) {
	t.Helper()
	x, err := index.Open(index.Options{Dir: "index", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := x.Topic(topic, index.TopicID(c.TopicInfo(topic).TopicID))
	if err != nil {
		t.Fatal(err)
	}
	facts := []index.Fact{{Key: key(777), Topic: ref, Offset: offset - 1, Time: time.Now()}}
	_, err = x.Apply(facts, []index.Checkpoint{{Topic: ref, Offset: offset, Epoch: epoch}})
	if err := errors.Join(err, x.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestCutOffWhileDown starts with checkpoints that the log does not reach, or
// did not reach in the epoch they name: all facts go and the log is read again.
func TestCutOffWhileDown(t *testing.T) {
	f := func(name string, offset int64, epoch int32, epochEnd int64, wantLoss bool) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			c := startKafka(t, 1)
			produce(t, newClient(t, c), 0, 0, 20)
			fs := vfs.NewMem()
			mark(t, c, fs, offset, epoch)
			c.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				return epochAnswer(kreq, epochEnd), nil, true
			})
			r := startCaughtUp(t, c, fs)
			if wantLoss {
				r.wantUnknown(t, 777, 778)
				r.wantKnown(t, 0, 20)
				r.wantForeign(t, 20)
			} else {
				r.wantKnown(t, 777, 778)
				r.wantUnknown(t, 0, int(offset))
				r.wantForeign(t, 20-offset)
			}
			if got := r.log.count("lost records") > 0; got != wantLoss {
				t.Errorf("loss reported: %v, want %v", got, wantLoss)
			}
		})
	}
	f("as it was", 15, -1, 0, false)
	f("at the end", 20, 0, 20, false)
	f("beyond the end", 21, -1, 0, true)
	f("epoch goes on", 15, 0, 20, false)
	f("epoch ended there", 15, 0, 15, false)
	f("epoch ended before", 15, 0, 14, true)
	f("epoch forgotten", 15, 0, -1, false)
}

func epochAnswer(kreq kmsg.Request, end int64) kmsg.Response {
	req := kreq.(*kmsg.OffsetForLeaderEpochRequest)
	resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
	for _, rt := range req.Topics {
		st := kmsg.NewOffsetForLeaderEpochResponseTopic()
		st.Topic = rt.Topic
		for _, rp := range rt.Partitions {
			sp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			sp.Partition, sp.LeaderEpoch, sp.EndOffset = rp.Partition, rp.LeaderEpoch, end
			st.Partitions = append(st.Partitions, sp)
		}
		resp.Topics = append(resp.Topics, st)
	}
	return resp
}

// shorten makes the broker answer that the log ends at an offset, in that
// leader epoch, as long as it is not negative.
func shorten(c *kfake.Cluster) (end *atomic.Int64, epoch *atomic.Int32) {
	end, epoch = new(atomic.Int64), new(atomic.Int32)
	end.Store(-1)
	c.ControlKey(int16(kmsg.ListOffsets), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req := kreq.(*kmsg.ListOffsetsRequest)
		if end.Load() < 0 || req.Topics[0].Partitions[0].Timestamp != -1 {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
		st := kmsg.NewListOffsetsResponseTopic()
		st.Topic = req.Topics[0].Topic
		sp := kmsg.NewListOffsetsResponseTopicPartition()
		sp.Offset, sp.LeaderEpoch = end.Load(), epoch.Load()
		st.Partitions = append(st.Partitions, sp)
		resp.Topics = append(resp.Topics, st)
		return resp, nil, true
	})
	return end, epoch
}

// TestCutOff shortens a log that is being followed.
func TestCutOff(t *testing.T) {
	c := startKafka(t, 1)
	produce(t, newClient(t, c), 0, 0, 20)
	end, _ := shorten(c)
	r := startCaughtUp(t, c, vfs.NewMem())

	// For a moment: the relay is not ready meanwhile, and nothing is dropped.
	end.Store(12)
	eventually(t, func() error {
		if r.CaughtUp() {
			return errors.New("still caught up with a log that is shorter")
		}
		return nil
	})
	end.Store(-1)
	r.waitCaughtUp(t)
	r.wantKnown(t, 0, 20)
	r.wantForeign(t, 20)

	// For good, until that is noticed: the records that are fetched reach on.
	end.Store(12)
	eventually(t, func() error {
		if r.log.count("lost records") == 0 {
			return errors.New("no loss reported")
		}
		return nil
	})
	end.Store(-1)
	r.waitCaughtUp(t)
	r.wantKnown(t, 0, 20)
	r.wantForeign(t, 40)
	if n := r.log.count("lost records"); n != 1 {
		t.Errorf("loss was reported %d times, want once", n)
	}
}

// TestOwnBeyondEnd commits a position that the log does not have: it cannot
// stay covered, else what comes there later would never be read.
func TestOwnBeyondEnd(t *testing.T) {
	c := startKafka(t, 1)
	cl := newClient(t, c)
	rs := produce(t, cl, 0, 0, 5)
	r := startCaughtUp(t, c, vfs.NewMem())
	own := ownOf(rs[:1])
	own[0].Key, own[0].Position.Offset = key(888), 7
	if err := r.Commit(own); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if r.offsetOf(t, 888) >= 0 || !r.CaughtUp() {
			return errors.New("the position beyond the end is still known")
		}
		return nil
	})
	produce(t, cl, 0, 5, 10)
	r.wantKnown(t, 0, 10)
}

// TestNewLeaderWithLess moves the lead to a broker that lacks what the old one
// had, which has grown beyond the old end since.
func TestNewLeaderWithLess(t *testing.T) {
	f := func(name string, oldEnd int64, wantLoss bool) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			c := startKafka(t, 1)
			cl := newClient(t, c)
			produce(t, cl, 0, 0, 20)
			r := startCaughtUp(t, c, vfs.NewMem())
			c.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				return epochAnswer(kreq, oldEnd), nil, true
			})
			end, epoch := shorten(c)
			epoch.Store(50)
			end.Store(30)
			produce(t, cl, 0, 20, 30)
			r.wantKnown(t, 20, 30)
			eventually(t, func() error {
				if got := r.log.count("lost records") > 0; got != wantLoss || !r.CaughtUp() {
					return fmt.Errorf("loss reported %v, want %v; caught up %v", got, wantLoss, r.CaughtUp())
				}
				return nil
			})
			r.wantKnown(t, 0, 30)
		})
	}
	f("with less", 19, true)
	f("with all", 20, false)
	f("with more", 25, false)
}

// TestAwaitsWhatReplicasLack starts while the leader has records that cannot be
// read yet: whoever asks for one of them must not be told that it is new.
func TestAwaitsWhatReplicasLack(t *testing.T) {
	f := func(name string, moved int32, logEnd, lacking int) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			c := startKafka(t, 1)
			cl := newClient(t, c)
			produce(t, cl, 0, 0, 20)
			var answers atomic.Int64
			c.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				end := logEnd
				if kreq.(*kmsg.OffsetForLeaderEpochRequest).Topics[0].Partitions[0].LeaderEpoch != 0 {
					end = 20 + lacking
				}
				answers.Add(1)
				return epochAnswer(kreq, int64(end)), nil, true
			})
			end, epoch := shorten(c)
			end.Store(20)
			r := start(t, c, vfs.NewMem(), nil)
			r.wantKnown(t, 0, 20)
			if moved > 0 { // What only the old leader had is gone.
				epoch.Store(moved)
			}
			asked := answers.Load()
			if lacking > 0 {
				r.wantAsked(t)
				if r.CaughtUp() {
					t.Errorf("caught up at %d of a log that ends at %d", 20, 20+lacking)
				}
				produce(t, cl, 0, 20, 20+lacking)
				end.Store(int64(20 + lacking))
			}
			r.waitCaughtUp(t)
			r.wantKnown(t, 0, 20+lacking)
			if got := answers.Load(); moved == 0 && got > asked+1 {
				t.Errorf("asked %d times more where the log ends, want once at the start", got-asked)
			}
		})
	}
	f("replicas have all", 0, 20, 0)
	f("replicas lack some", 0, 30, 10)
	f("the next leader has less", 1, 30, 5)
	f("the next leader lacks them", 1, 30, 0)
}

// wantAsked waits until the ends have been taken twice more.
func (r *running) wantAsked(t testing.TB) {
	t.Helper()
	now := time.Now()
	eventually(t, func() error {
		if marks := r.Marks(topic); len(marks) == 0 || !marks[0].Asked.After(now.Add(50*time.Millisecond)) {
			return fmt.Errorf("marks %+v, want them asked for after %v", marks, now)
		}
		return nil
	})
}

// TestLogStartMoved lets retention remove records that were not read yet.
func TestLogStartMoved(t *testing.T) {
	t.Run("while down", func(t *testing.T) {
		c := startKafka(t, 1)
		cl := newClient(t, c)
		produce(t, cl, 0, 0, 10)
		fs := vfs.NewMem()
		startCaughtUp(t, c, fs).stop()
		produce(t, cl, 0, 10, 30)
		if err := c.DeleteRecords(topic, 0, 20); err != nil {
			t.Fatal(err)
		}
		r := startCaughtUp(t, c, fs)
		r.wantKnown(t, 20, 30)
		r.wantKnown(t, 0, 10) // Facts stay as long as their window.
		r.wantUnknown(t, 10, 20)
		r.wantForeign(t, 10)
	})
	t.Run("while reading", func(t *testing.T) {
		c := startKafka(t, 1)
		cl := newClient(t, c)
		r := startCaughtUp(t, c, vfs.NewMem())
		held := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.KafkaStorageError, Count: -1})
		produce(t, cl, 0, 0, 30)
		eventually(t, func() error {
			if r.Problem() == "" {
				return errors.New("no problem while nothing can be read")
			}
			return nil
		})
		if err := c.DeleteRecords(topic, 0, 20); err != nil {
			t.Fatal(err)
		}
		held.Remove()
		r.wantKnown(t, 20, 30)
		r.wantLow(t, 30)
		r.wantUnknown(t, 0, 20)
		eventually(t, func() error {
			if p := r.Problem(); p != "" {
				return fmt.Errorf("problem %q", p)
			}
			return nil
		})
		if n := r.log.count("removed from the log before"); n != 1 {
			t.Errorf("the removal was reported %d times, want once", n)
		}
	})
}
