package relay_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"hooklog/relay"
	"hooklog/schemas"
)

// model is what is known of the relay's world.
type model struct {
	t       *testing.T
	source  relay.Source
	brokers *simBrokers
	process *process
	all     []*process

	// The model itself: the topic as it must be, and what is known of IDs that
	// are not simply absent.
	log     []entry
	state   map[string]*standing
	trouble brokerTrouble
	heal    func()
	client  int // number of the producing client
	warm    int

	began    time.Time
	mu       sync.Mutex // guards the two below
	trace    []string
	failures []string
}

// entry is a record of the topic.
type entry struct{ id, body string }

// standing is how an ID stands with the relay.
type standing struct {
	committed bool
	offset    int
	received  time.Time
	// Otherwise it is in doubt since then, or with a broker that keeps waiting.
	since   time.Time
	client  int // whose record it was
	waiting bool
}

// tick is the pause between two steps: the follower has compared the log twice,
// what it found is read, and claims in doubt have been looked at.
const tick = 300 * time.Millisecond

func newModel(t *testing.T) *model {
	m := &model{t: t, state: make(map[string]*standing), began: time.Now(), heal: func() {}}
	m.source = demoSource(t)
	m.source.Deadline = time.Second
	m.brokers = startBrokers(t, 1, m.say)
	m.brokers.network.lag = time.Millisecond
	m.begin(vfs.NewCrashableMem())
	return m
}

func (m *model) say(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trace = append(m.trace, fmt.Sprintf("%12v %s\n", time.Since(m.began), strings.TrimSuffix(fmt.Sprintf(format, args...), "\n")))
}

func (m *model) errorf(format string, args ...any) {
	m.say("FAILED: "+format, args...)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failures = append(m.failures, fmt.Sprintf(format, args...))
}

func (m *model) begin(disk *vfs.MemFS) {
	n := len(m.all)
	m.process = &process{
		name: fmt.Sprint("relay ", n), address: fmt.Sprint("localhost:", 8080+n), network: m.brokers.network, disk: disk, say: m.say,
		rng: rand.New(rand.NewPCG(1, uint64(n))),
	}
	m.all = append(m.all, m.process)
	begin(m.t, m.process, relay.Options{
		Sources: []relay.Source{m.source}, Window: modelWindow,
		Client: []kgo.Opt{kgo.SeedBrokers(m.brokers.ListenAddrs()...)},
		Topics: relay.TopicSettings{Partitions: 1},
	})
}

func (m *model) awaitReady() {
	for range 3000 {
		if ok, _ := m.process.Ready(); ok {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	_, reason := m.process.Ready()
	m.errorf("not ready after 30 s: %s", reason)
}

// end winds everything down.
func (m *model) end() {
	m.heal()
	m.process.cancel()
	for _, p := range m.all {
		<-p.ended
	}
	m.brokers.Close()
	time.Sleep(11 * time.Second) // see history.run
}

// run does the steps, then lets everything come to rest and compares.
func (m *model) run(steps []step) {
	for _, s := range steps {
		m.say("%v", s)
		m.do(s)
		if s.verb != kills && s.verb != restarts { // What is known must be known at once.
			time.Sleep(tick)
		}
		m.pass()
		if len(m.failures) > 0 {
			return
		}
	}
	m.heals()
	time.Sleep(8 * time.Second)
	m.pass()
	for n := range 4 {
		m.send(step{id: n, copies: 1})
		time.Sleep(tick)
	}
	if st := m.process.Status(); st.Claims != 0 || st.InDoubt != 0 {
		m.errorf("%d claims are held, %d in doubt, want none", st.Claims, st.InDoubt)
	}
	records := readTopic(m.t, m.brokers.Cluster, topicName, kgo.Dialer(m.brokers.network.dial))
	for i := range max(len(records), len(m.log)) {
		var got, want entry
		if i < len(records) {
			got = entry{string(records[i].Key), string(records[i].Value)}
		}
		if i < len(m.log) {
			want = m.log[i]
		}
		if got != want {
			m.errorf("record %d is %v, want %v", i, got, want)
		}
	}
}

// pass forgets what time has made of IDs.
func (m *model) pass() {
	for id, s := range m.state {
		switch age := time.Since(s.received); {
		case s.committed && age > modelWindow-2*time.Second && age <= modelWindow+time.Second:
			time.Sleep(3 * time.Second) // so that no answer hangs on a moment
			m.pass()
			return
		case s.committed && age > modelWindow:
			delete(m.state, id)
		case s.committed || s.waiting:
		case time.Since(s.since) > 4*time.Second && time.Since(s.since) < 6*time.Second:
			time.Sleep(2 * time.Second)
			m.pass()
			return
		case time.Since(s.since) >= 6*time.Second:
			delete(m.state, id) // an idle log is taken at its word
		}
	}
}

func (m *model) do(s step) {
	switch s.verb {
	case sends:
		m.send(s)
	case breaks:
		m.heals()
		m.breaks(s.trouble)
	case heals:
		m.heals()
	case waits:
		time.Sleep(time.Duration(s.seconds) * time.Second)
	case kills, restarts:
		m.restart(s)
	case recreates:
		m.recreate()
	case appendsForeign:
		m.foreign(s)
	}
}

// breaks makes the broker fail at the next record.
func (m *model) breaks(trouble brokerTrouble) {
	b := m.brokers
	fault := func(err *kerr.Error) func() {
		return b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: err}).Remove
	}
	m.trouble = trouble
	switch trouble {
	case losesAnswer:
		b.network.swallow.Store(1)
		m.heal = func() { b.network.swallow.Store(0) }
	case asksAgain:
		m.heal = fault(kerr.NotEnoughReplicas)
	case refuses:
		m.heal = fault(kerr.TopicAuthorizationFailed)
	case appendsRefuses:
		m.heal = appends(kerr.TopicAuthorizationFailed)(b, nil, nil)
	case appendsForgets:
		m.heal = appends(kerr.OutOfOrderSequenceNumber)(b, nil, nil)
	case keepsWaiting:
		gate := make(chan struct{})
		b.mu.Lock()
		b.gate = gate
		b.mu.Unlock()
		m.heal = func() {
			b.mu.Lock()
			b.gate = nil
			b.mu.Unlock()
			close(gate)
		}
	case none, troubleCount:
	}
}

// heals makes the broker take what waits, in the order in which it came.
func (m *model) heals() {
	m.heal()
	m.heal, m.trouble = func() {}, none
	time.Sleep(2 * time.Second) // A client that has lost patience tries again.
	m.learn()
}

// learn looks at the topic for what has become of IDs that waited.
func (m *model) learn() {
	for _, rec := range readTopic(m.t, m.brokers.Cluster, topicName, kgo.Dialer(m.brokers.network.dial))[len(m.log):] {
		id := string(rec.Key)
		s := m.state[id]
		if s == nil || !s.waiting {
			m.errorf("%s is at %d, where nothing new was to come", id, rec.Offset)
			return
		}
		*s = standing{committed: true, offset: int(rec.Offset), received: rec.Timestamp}
		m.log = append(m.log, entry{id, string(rec.Value)})
	}
	for id, s := range m.state {
		if s.waiting {
			m.errorf("%s was taken by the relay and is not in the topic", id)
		}
	}
}

// restart ends the process and starts another.
func (m *model) restart(s step) {
	disk := m.process.disk
	if s.verb == kills {
		m.process.mu.Lock()
		m.process.doom = &kill{unsynced: s.unsynced}
		m.process.mu.Unlock()
		m.process.die("at rest")
		disk = m.process.left
		time.Sleep(time.Millisecond)
	} else {
		m.process.cancel()
		err := <-m.process.ended
		m.process.ended <- err
		if err != nil && m.trouble != keepsWaiting {
			m.errorf("Run = %v, want nil", err)
		}
	}
	// What the broker has taken it takes now, before the next process looks;
	// what it has not is gone with the process.
	m.heal()
	m.heal, m.trouble = func() {}, none
	time.Sleep(time.Second)
	waiting := make(map[string]*standing)
	for id, s := range m.state {
		if s.waiting {
			waiting[id] = s
		} else if !s.committed {
			delete(m.state, id)
		}
	}
	for _, rec := range readTopic(m.t, m.brokers.Cluster, topicName, kgo.Dialer(m.brokers.network.dial))[len(m.log):] {
		id := string(rec.Key)
		if waiting[id] == nil {
			m.errorf("%s is at %d, where nothing new was to come", id, rec.Offset)
			continue
		}
		delete(waiting, id)
		m.state[id] = &standing{committed: true, offset: int(rec.Offset), received: rec.Timestamp}
		m.log = append(m.log, entry{id, string(rec.Value)})
	}
	for id := range waiting {
		delete(m.state, id)
	}
	if s.indexLost {
		disk = vfs.NewCrashableMem()
	}
	m.begin(disk)
}

// recreate deletes the topic, which the relay makes again. An event that is
// sent until it is accepted shows that all is well.
func (m *model) recreate() {
	m.heals()
	time.Sleep(8 * time.Second) // Nothing is in doubt.
	if err := m.brokers.DeleteTopic(topicName); err != nil {
		m.errorf("delete the topic: %v", err)
	}
	m.state, m.log = make(map[string]*standing), nil
	time.Sleep(10 * time.Second)
	m.awaitReady()
	m.warm++
	id := fmt.Sprint("warm_", m.warm)
	for range 60 {
		a, _, err := m.process.do(request(m.t, m.source, id, "{}"), 5*time.Second)
		if err == nil && a.status == 200 {
			m.log = append(m.log, entry{id, "{}"})
			time.Sleep(8 * time.Second)
			return
		}
		time.Sleep(time.Second)
	}
	m.errorf("%s: no 2xx within a minute after the topic was deleted", id)
}

// foreign is another relay that accepts an event, known to ours or not. Within
// a second ours knows of it.
func (m *model) foreign(s step) {
	id := fmt.Sprint("msg_", s.id)
	known := m.state[id]
	if m.trouble != none || known != nil && !known.committed {
		return
	}
	body := bodyFor(id)
	rec := schemas.Encode(&schemas.Event{
		ID: schemas.EventID(id), Source: m.source.Name, Type: "t", Received: time.Now(), Scheme: "standard-webhooks",
		Method: "POST", Target: "/hooks/demo", Body: []byte(body),
	}, topicName)
	if err := m.brokers.append(rec); err != nil {
		m.errorf("%v", err)
		return
	}
	if known == nil {
		m.state[id] = &standing{committed: true, offset: len(m.log), received: rec.Timestamp}
	}
	m.log = append(m.log, entry{id, body})
	time.Sleep(time.Second)
}
