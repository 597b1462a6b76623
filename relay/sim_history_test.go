package relay_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/valyala/fasthttp"

	"hooklog/relay"
	"hooklog/schemas"
)

// Environment of the simulation.
const (
	// simSeedVariable runs the history of that seed and no other. What is drawn
	// from a seed is the same each time; the order in which goroutines run is
	// not, so a failure may need some runs (-count) to show again, and its
	// trace is printed the first time.
	simSeedVariable = "HOOKLOG_SIM_SEED"
	// simCountVariable is how many histories are run, from a seed that nobody
	// has seen before.
	simCountVariable = "HOOKLOG_SIM"
)

// TestHistories runs relays through whole histories in simulated time: senders
// that insist, brokers that fail, processes that are killed at any of their
// operations, directories that are lost. Afterwards each 2xx names a place that
// holds the event, and no event is in the topic twice.
func TestHistories(t *testing.T) {
	seed, count := uint64(1), 120
	if raceEnabled {
		count = 30
	}
	if testing.Short() {
		count = 10
	}
	if text := os.Getenv(simCountVariable); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("%s=%q: %v", simCountVariable, text, err)
		}
		seed, count = rand.Uint64N(1<<53), n
	}
	if text := os.Getenv(simSeedVariable); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s=%q: %v", simSeedVariable, text, err)
		}
		seed, count = n, 1
	}
	startClock()
	var all tally
	began := time.Now()
	for i := range uint64(count) {
		t.Run(fmt.Sprint("seed=", seed+i), func(t *testing.T) {
			all.add(runHistory(t, newPlan(seed+i)))
		})
		if t.Failed() && os.Getenv(simCountVariable) == "" {
			break
		}
	}
	t.Logf("%d histories, %.1f a second: %+v", count, float64(count)/time.Since(began).Seconds(), all)
}

// TestReplacedClient: what the new client is acknowledged proves nothing about
// the records of the one that it has replaced.
func TestReplacedClient(t *testing.T) {
	startClock()
	for seed := range uint64(5) { // It depends on where partitions are led.
		runHistory(t, replacedClient(seed))
	}
}

// runHistory runs one in a bubble.
func runHistory(t *testing.T, p *plan) *tally {
	t.Helper()
	h := &history{plan: p}
	defer func() { // A bubble that fails ends the test.
		if t.Failed() {
			t.Logf("run it again, if it is one of TestHistories: %s=%d go test -count=1 -run '^TestHistories$' ./relay\n%v%s",
				simSeedVariable, p.seed, p, strings.Join(h.trace, ""))
		}
	}()
	synctest.Test(t, func(t *testing.T) { h.run(t) })
	return &h.tally
}

// startClock makes fasthttp start its clock for Date headers, whose goroutine
// lives as long as the process and must not be born in a bubble.
func startClock() { _ = new(fasthttp.ResponseHeader).Header() }

// tally is what histories consisted of, to see that they test anything.
type tally struct {
	Requests, Accepted, Duplicates, Spooled, Refused, Broken int
	Kills, Stops, IndexLost, Late, Foreign, Events           int
}

func (a *tally) add(b *tally) {
	a.Requests += b.Requests
	a.Accepted += b.Accepted
	a.Duplicates += b.Duplicates
	a.Spooled += b.Spooled
	a.Refused += b.Refused
	a.Broken += b.Broken
	a.Kills += b.Kills
	a.Stops += b.Stops
	a.IndexLost += b.IndexLost
	a.Late += b.Late
	a.Foreign += b.Foreign
	a.Events += b.Events
}

// history is one that happens.
type history struct {
	plan    *plan
	sources []relay.Source
	brokers *simBrokers
	began   time.Time
	healed  chan struct{}

	mu        sync.Mutex // guards all below
	trace     []string
	processes []*process
	answers   []answered
	appended  map[string]string // places of what another relay wrote, by event
	tally     tally
}

// answered is a 2xx.
type answered struct {
	event, outcome, place string
	body                  string
}

// say writes a line of the trace.
func (h *history) say(format string, args ...any) {
	at := time.Since(h.began)
	line := fmt.Sprintf(format, args...)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.trace = append(h.trace, fmt.Sprintf("%12v %s\n", at, strings.TrimSuffix(line, "\n")))
}

// process is the latest.
func (h *history) process() *process {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.processes[len(h.processes)-1]
}

// run is the history, from the first process to the last check.
func (h *history) run(t *testing.T) {
	h.began = time.Now()
	h.healed = make(chan struct{})
	h.appended = make(map[string]string)
	h.sources = []relay.Source{presetSource(t, "standard-webhooks", "one", secretText), presetSource(t, "standard-webhooks", "two", secretText)}
	for i := range h.sources {
		h.sources[i].Deadline = h.plan.deadline
		if h.plan.spools[i] {
			h.sources[i].Outage = relay.OutageSpool
		}
	}
	h.brokers = startBrokers(t, h.plan.brokers, h.say)
	h.brokers.network.lag = h.plan.lag
	// The bubble lets no goroutine outlive it. fasthttp looks after idle workers
	// for 10 s more than its server.
	defer func() { h.brokers.Close(); time.Sleep(11 * time.Second) }()

	h.begin(t, vfs.NewCrashableMem())
	var senders, others sync.WaitGroup
	for i := range h.plan.senders {
		senders.Go(func() { h.send(t, &h.plan.senders[i]) })
	}
	for i := range h.plan.appends {
		senders.Go(func() { h.append(t, &h.plan.appends[i]) })
	}
	for i := range h.plan.faults {
		others.Go(func() { h.fail(&h.plan.faults[i]) })
	}
	for i := range h.plan.lives {
		h.succeed(t, &h.plan.lives[i])
	}
	time.Sleep(time.Until(h.began.Add(h.plan.load + 5*time.Second)))
	h.say("HEALED")
	close(h.healed)
	others.Wait()
	senders.Wait()
	h.finish(t)
}

// begin starts a process.
func (h *history) begin(t *testing.T, disk *vfs.MemFS) {
	h.mu.Lock()
	n := len(h.processes)
	p := &process{
		name: fmt.Sprint("relay ", n), address: fmt.Sprint("localhost:", 8080+n), network: h.brokers.network, disk: disk, say: h.say,
		rng: rand.New(rand.NewPCG(h.plan.seed, uint64(n))),
	}
	if n < len(h.plan.lives) {
		p.doom = h.plan.lives[n].doom
	}
	h.processes = append(h.processes, p)
	h.mu.Unlock()
	h.say("%s: BEGINS", p.name)
	begin(t, p, relay.Options{
		Sources: h.sources,
		Client:  []kgo.Opt{kgo.SeedBrokers(h.brokers.ListenAddrs()...)},
		Topics:  relay.TopicSettings{Partitions: h.plan.partitions},
	})
}

// succeed waits for a process's end and starts the next.
func (h *history) succeed(t *testing.T, l *life) {
	p := h.process()
	end := time.NewTimer(time.Until(h.began.Add(l.at)))
	defer end.Stop()
	select {
	case <-p.killed:
	case <-end.C:
		if l.kill {
			p.die("by the clock")
		}
	}
	disk := p.disk
	h.mu.Lock()
	if l.indexLost {
		h.tally.IndexLost++
	}
	h.mu.Unlock()
	if h.stop(t, p) {
		h.mu.Lock()
		h.tally.Stops++
		h.mu.Unlock()
	} else {
		disk = p.left
		h.mu.Lock()
		h.tally.Kills++
		h.mu.Unlock()
		// The brokers are done with all that had reached them, but for what
		// lies there.
		time.Sleep(time.Millisecond)
		h.brokers.orphan()
	}
	if l.indexLost {
		removeIndex(t, disk)
	}
	time.Sleep(l.pause)
	h.begin(t, disk)
}

// removeIndex removes the index and nothing else.
func removeIndex(t *testing.T, disk *vfs.MemFS) {
	err := disk.RemoveAll("index")
	if err == nil {
		var root vfs.File
		if root, err = disk.OpenDir("/"); err == nil {
			err = errors.Join(root.Sync(), root.Close())
		}
	}
	if err != nil {
		t.Errorf("remove the index: %v", err)
	}
}

// stop ends a process in order, unless it is killed: then it returns false.
func (h *history) stop(t *testing.T, p *process) bool {
	select {
	case <-p.killed:
		return false
	default:
	}
	h.say("%s: STOPS", p.name)
	p.cancel()
	select {
	case <-p.killed:
		return false
	case err := <-p.ended:
		p.ended <- err
		if !p.spare() {
			return false
		}
		p.over = time.Now()
		h.say("%s: Run = %v", p.name, err)
		if err != nil && len(h.plan.faults) == 0 {
			t.Errorf("%s: Run = %v, want nil: no broker has failed", p.name, err)
		}
		h.brokers.orphan()
		return true
	}
}

// fail makes something go wrong, until its time is up or all heals.
func (h *history) fail(f *simFault) {
	time.Sleep(f.at)
	h.say("FAULT %s", f.name)
	heal := f.inject(h.brokers, f, h.process)
	select {
	case <-time.After(f.lasts):
	case <-h.healed:
	}
	heal()
	h.say("fault %s over", f.name)
}

// append is another relay at work.
func (h *history) append(t *testing.T, a *simAppend) {
	time.Sleep(a.at)
	src := h.sources[0]
	rec := schemas.Encode(&schemas.Event{
		ID: schemas.EventID(a.id), Source: src.Name, Type: "t", Received: time.Now(), Scheme: "standard-webhooks",
		Method: "POST", Target: "/hooks/one", Body: []byte(bodyFor(a.id)),
	}, topicName)
	name := eventName(src.Name, schemas.EventID(a.id))
	if err := h.brokers.append(rec); err != nil {
		h.say("another relay: %s: %v", name, err)
		return
	}
	place := schemas.Position{Topic: topicName, Partition: rec.Partition, Offset: rec.Offset}.String()
	h.say("another relay: %s is at %s", name, place)
	h.mu.Lock()
	h.appended[name] = place
	h.mu.Unlock()
	if len(h.plan.faults) > 0 { // The relay may not be able to see it.
		return
	}
	time.Sleep(a.copyAfter)
	s := &simSender{patience: 5 * time.Second, pause: 50 * time.Millisecond}
	h.insist(t, s, src, a.id)
}

// finish lets the last process come to rest and checks what all have left.
func (h *history) finish(t *testing.T) {
	p := h.process()
	p.spare()
	eventually(t, func() error {
		if ok, reason := p.Ready(); !ok {
			return errors.New(reason)
		}
		if st := p.Status(); !st.Follow.CaughtUp || st.Spool.Events > 0 {
			return fmt.Errorf("%+v, want it caught up and the spool drained", st)
		}
		return nil
	})
	p.checkSettled(t)
	time.Sleep(time.Second) // What another relay has written is known by then.
	h.check(t, p)
	if !h.stop(t, p) {
		t.Errorf("%s was killed", p.name)
	}
	for _, p := range h.processes {
		select {
		case <-p.ended:
		case <-time.After(time.Minute):
			t.Errorf("%s has not ended a minute after all others", p.name)
		}
	}
	h.checkBooks(t)
}
