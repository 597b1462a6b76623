package relay_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"hooklog/schemas"
)

// longestHold bounds how long a broker leaves a request lying that it has
// taken. It is less than idleAfter, after which the relay takes an idle log at
// its word; what is beyond is the case that the package's comment leaves open.
const longestHold = 4 * time.Second

// simBrokers are the brokers of a simulation.
type simBrokers struct {
	*kfake.Cluster
	network *simNetwork
	say     func(format string, args ...any)

	mu      sync.Mutex
	stalled time.Time // until then produce requests lie where they are
	holds   int       // so many produce requests lie for holdFor, others pass them
	holdFor time.Duration
	gate    chan struct{}             // not nil: produce requests lie until it is closed
	hangUps int                       // so many produce requests end their connection
	held    map[kmsg.Request][]string // what lies, with its events
	orphans map[kmsg.Request]bool     // those whose process is gone
	late    map[string]int            // copies of orphans that may be appended, by event
}

func startBrokers(t testing.TB, brokers int, say func(string, ...any)) *simBrokers {
	t.Helper()
	vn := new(kfake.VirtualNetwork)
	ports := []int{9092, 9093, 9094}[:brokers]
	k, err := kfake.NewCluster(kfake.Ports(ports...), kfake.ListenFn(vn.Listen))
	if err != nil {
		t.Fatal(err)
	}
	b := &simBrokers{
		Cluster: k, say: say,
		network: &simNetwork{dial: vn.DialContext, listen: vn.Listen},
		held:    make(map[kmsg.Request][]string),
		orphans: make(map[kmsg.Request]bool),
		late:    make(map[string]int),
	}
	k.ControlKey(produceKey, b.produce)
	return b
}

// produce looks at each produce request before the broker does.
func (b *simBrokers) produce(req kmsg.Request) (kmsg.Response, error, bool) {
	b.KeepControl()
	events := eventsOf(req.(*kmsg.ProduceRequest))
	if foreign(events) {
		return nil, nil, false
	}
	b.mu.Lock()
	wait := min(time.Until(b.stalled), longestHold)
	if b.holds > 0 {
		b.holds--
		wait = max(wait, b.holdFor)
	}
	hangUp := b.hangUps > 0
	if hangUp {
		b.hangUps--
	}
	gate := b.gate
	if wait > 0 || gate != nil {
		b.held[req] = events
	}
	b.mu.Unlock()
	if wait > 0 || gate != nil {
		b.say("broker: %v lie", events)
		b.SleepControl(func() {
			time.Sleep(wait)
			if gate != nil {
				<-gate
			}
		})
		b.mu.Lock()
		if b.orphans[req] {
			b.say("broker: %v are late: their process is gone", events)
			for _, e := range events {
				b.late[e]++
			}
		}
		delete(b.held, req)
		delete(b.orphans, req)
		b.mu.Unlock()
	}
	if hangUp {
		b.say("broker: hangs up instead of %v", events)
		return nil, errors.New("hang up"), true
	}
	b.say("broker: takes %v", events)
	return nil, nil, false
}

// orphan notes that whoever sent what lies is gone.
func (b *simBrokers) orphan() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for req := range b.held {
		b.orphans[req] = true
	}
}

// eventsOf are the events in a produce request.
func eventsOf(req *kmsg.ProduceRequest) (events []string) {
	for i := range req.Topics {
		for j := range req.Topics[i].Partitions {
			var batch kmsg.RecordBatch
			if err := batch.ReadFrom(req.Topics[i].Partitions[j].Records); err != nil {
				continue
			}
			records, err := kfake.BatchRecords(batch)
			if err != nil {
				continue
			}
			for k := range records {
				r := &kgo.Record{Key: records[k].Key, Value: []byte{}}
				for _, h := range records[k].Headers {
					r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
				}
				if source, id, ok := schemas.Identify(r); ok {
					events = append(events, eventName(source, id))
				}
			}
		}
	}
	return events
}

func eventName(source schemas.SourceName, id schemas.EventID) string {
	return string(source) + "/" + string(id)
}

// foreignID begins the IDs of events that another writer appends first.
const foreignID = "ext_"

func foreign(events []string) bool {
	return len(events) > 0 && strings.Contains(events[0], "/"+foreignID)
}

// simFault is something that goes wrong for a while.
type simFault struct {
	name  string
	at    time.Duration
	lasts time.Duration
	count int
	// lone: with several brokers it could stop simulated time, see process.
	lone bool
	// inject makes it go wrong and returns how it is put right.
	inject func(b *simBrokers, f *simFault, p func() *process) (heal func())
}

// answers is an error instead of the answer to requests of that kind.
func answers(err *kerr.Error, keys ...kmsg.Key) func(b *simBrokers, f *simFault, _ func() *process) func() {
	return func(b *simBrokers, f *simFault, _ func() *process) func() {
		return b.Fault(kfake.Fault{Keys: keys, Err: err, Count: f.count, When: notForeign}).Remove
	}
}

func notForeign(req kmsg.Request) bool {
	p, ok := req.(*kmsg.ProduceRequest)
	return !ok || !foreign(eventsOf(p))
}

// appends the next request and loses the answer; the second try gets the error.
func appends(err *kerr.Error) func(b *simBrokers, f *simFault, _ func() *process) func() {
	return func(b *simBrokers, f *simFault, _ func() *process) func() {
		b.network.swallow.Store(1)
		second := nth(2)
		h := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: err, When: func(req kmsg.Request) bool {
			return notForeign(req) && second(req)
		}})
		return func() { h.Remove(); b.network.swallow.Store(0) }
	}
}

// simFaults are all faults there are.
func simFaults() []simFault {
	nothing := func() {}
	faults := []simFault{
		{name: "loses answers", inject: func(b *simBrokers, f *simFault, _ func() *process) func() {
			b.network.swallow.Store(int64(f.count))
			return func() { b.network.swallow.Store(0) }
		}},
		{name: "hangs up", inject: func(b *simBrokers, f *simFault, _ func() *process) func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.hangUps = f.count
			return nothing
		}},
		{name: "answers late", inject: func(b *simBrokers, f *simFault, _ func() *process) func() {
			b.network.delay.Store(int64(f.lasts))
			return func() { b.network.delay.Store(0) }
		}},
		{name: "stalls", inject: func(b *simBrokers, f *simFault, _ func() *process) func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.stalled = time.Now().Add(f.lasts)
			return nothing
		}},
		{name: "holds requests", inject: func(b *simBrokers, f *simFault, _ func() *process) func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.holds, b.holdFor = f.count, min(f.lasts, longestHold)
			return nothing
		}},
		{name: "network down", lone: true, inject: func(b *simBrokers, _ *simFault, p func() *process) func() {
			b.network.down.Store(true)
			p().cut()
			return func() { b.network.down.Store(false) }
		}},
		{name: "connections cut", lone: true, inject: func(_ *simBrokers, _ *simFault, p func() *process) func() {
			p().cut()
			return nothing
		}},
		{name: "leaders move", inject: func(b *simBrokers, _ *simFault, _ func() *process) func() {
			b.ShufflePartitionLeaders()
			return nothing
		}},
	}
	produce := func(name string, err *kerr.Error) {
		faults = append(faults, simFault{name: name, inject: answers(err, kmsg.Produce)})
	}
	for _, err := range []*kerr.Error{ // The first two come after the append.
		kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend, kerr.NotEnoughReplicas, kerr.NotLeaderForPartition,
		kerr.UnknownTopicOrPartition, kerr.TopicAuthorizationFailed, kerr.MessageTooLarge, kerr.UnknownServerError,
		kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID, kerr.InvalidProducerEpoch,
	} {
		produce(err.Message, err)
	}
	for _, err := range []*kerr.Error{
		kerr.TopicAuthorizationFailed, kerr.MessageTooLarge, kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID,
		kerr.InvalidProducerEpoch, kerr.NotLeaderForPartition,
	} {
		faults = append(faults, simFault{name: "appends, then " + err.Message, inject: appends(err)})
	}
	for _, f := range []struct {
		key  kmsg.Key
		errs []*kerr.Error
	}{
		{kmsg.ListOffsets, []*kerr.Error{kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.UnknownServerError}},
		{kmsg.Fetch, []*kerr.Error{kerr.NotLeaderForPartition, kerr.UnknownServerError, kerr.FencedLeaderEpoch}},
		{kmsg.Metadata, []*kerr.Error{kerr.LeaderNotAvailable, kerr.UnknownTopicOrPartition}},
		{kmsg.InitProducerID, []*kerr.Error{kerr.CoordinatorLoadInProgress, kerr.ClusterAuthorizationFailed}},
		{kmsg.OffsetForLeaderEpoch, []*kerr.Error{kerr.UnknownServerError}},
	} {
		for _, err := range f.errs {
			faults = append(faults, simFault{
				name: f.key.Name() + " " + err.Message, inject: answers(err, f.key),
				lone: f.key == kmsg.InitProducerID && err.Retriable,
			})
		}
	}
	return faults
}

// append writes records as another relay would, and returns when they are
// acknowledged.
func (b *simBrokers) append(records ...*kgo.Record) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.ListenAddrs()...), kgo.Dialer(b.network.dial))
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("append: %w", err)
	}
	return nil
}
