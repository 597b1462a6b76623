package relay_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// plan is a history before it happens: all that is drawn from its seed. The
// order in which goroutines then run is not.
type plan struct {
	seed       uint64
	brokers    int
	partitions int32
	lag        time.Duration // of each answer of a broker
	deadline   time.Duration
	spools     [2]bool       // the sources
	load       time.Duration // senders begin within it
	senders    []simSender
	appends    []simAppend
	faults     []simFault
	lives      []life // all but the last process end as it says
}

// simSender sends one copy of an event until it gets a 2xx.
type simSender struct {
	event    int
	at       time.Duration
	patience time.Duration // how long it waits for one answer
	pause    time.Duration // between two tries
	tries    int           // zero: until it gets a 2xx
}

// simAppend is an event that another relay accepts.
type simAppend struct {
	id string
	at time.Duration
	// copyAfter is when it is sent to the relay as well.
	copyAfter time.Duration
}

// life is how a process ends, and what the next one finds.
type life struct {
	doom  *kill         // at an operation
	at    time.Duration // or else then, at the latest; orderly or not
	kill  bool
	pause time.Duration
	// indexLost: somebody removes its directory.
	indexLost bool
}

func (l life) String() string {
	how := "stop"
	if l.kill {
		how = "kill"
	}
	s := fmt.Sprintf("%s at %v", how, l.at)
	if l.doom != nil {
		s = l.doom.String() + ", else " + s
	}
	if l.indexLost {
		s += ", index lost"
	}
	return fmt.Sprintf("%s, next after %v", s, l.pause)
}

// typicalOperations are how many of a kind a history has, about: a kill is
// drawn from them.
var typicalOperations = [operationCount]int{
	anything: 1500, onDisk: 120, toBroker: 400, fromBroker: 800, produces: 30, acknowledged: 60, toSender: 60, fromSender: 60,
}

func between(r *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(r.Int64N(int64(to-from)))
}

func chance(r *rand.Rand, percent int) bool { return r.IntN(100) < percent }

// newPlan draws a history.
func newPlan(seed uint64) *plan {
	r := rand.New(rand.NewPCG(seed, 0))
	p := &plan{
		seed:       seed,
		brokers:    []int{1, 3}[r.IntN(2)],
		partitions: 1 + r.Int32N(4),
		deadline:   []time.Duration{200 * time.Millisecond, time.Second, 2500 * time.Millisecond}[r.IntN(3)],
		load:       between(r, 100*time.Millisecond, 6*time.Second),
	}
	if p.brokers == 1 {
		p.lag = []time.Duration{0, 200 * time.Microsecond, 5 * time.Millisecond}[r.IntN(3)]
	}
	p.spools = [2]bool{chance(r, 30), chance(r, 50)}
	// Each draws from a generator of its own, so that one of them can be taken
	// out of a history that fails while the others stay.
	p.drawSenders(rand.New(rand.NewPCG(seed, 1)))
	if chance(r, 75) {
		p.drawFaults(rand.New(rand.NewPCG(seed, 2)))
	}
	if chance(r, 75) {
		p.drawLives(rand.New(rand.NewPCG(seed, 3)))
	}
	if chance(r, 30) {
		p.drawAppends(rand.New(rand.NewPCG(seed, 4)))
	}
	return p
}

// replacedClient is a history in which the producing client is replaced while a
// request of its lies at another broker than the one that did not know it.
func replacedClient(seed uint64) *plan {
	p := &plan{seed: seed, brokers: 3, partitions: 3, deadline: time.Second, load: 3 * time.Second}
	send := func(event int, at time.Duration) {
		p.senders = append(p.senders, simSender{event: event, at: at, patience: 5 * time.Second, pause: 300 * time.Millisecond})
	}
	for event := range 12 {
		send(event, 0)
	}
	send(12, 110*time.Millisecond)
	for event := 13; event < 25; event++ {
		send(event, 210*time.Millisecond)
	}
	for event := 25; event < 60; event++ {
		send(event, 700*time.Millisecond)
	}
	for _, f := range simFaults() {
		switch f.name {
		case "holds requests":
			f.at = 100 * time.Millisecond
		case "appends, then " + kerr.OutOfOrderSequenceNumber.Message:
			f.at = 200 * time.Millisecond
		default:
			continue
		}
		f.lasts, f.count = longestHold, 1
		p.faults = append(p.faults, f)
	}
	return p
}

func (p *plan) drawSenders(r *rand.Rand) {
	events := 1 + r.IntN(30)
	burst := chance(r, 20) // all at once
	for event := range events {
		at := between(r, 0, p.load)
		if burst {
			at = p.load / 2
		}
		for copies := 1 + max(0, r.IntN(6)-2); copies > 0; copies-- {
			s := simSender{
				event: event, at: at,
				patience: between(r, time.Second, 5*time.Second),
				pause:    between(r, 10*time.Millisecond, 2*time.Second),
			}
			switch r.IntN(10) {
			case 0: // gives up at once, and may come again
				s.patience = between(r, 0, 30*time.Millisecond)
				s.tries = 1 + r.IntN(3)
			case 1:
				s.tries = 1 + r.IntN(3)
			}
			p.senders = append(p.senders, s)
			if chance(r, 50) { // the next copy comes later
				at += between(r, 0, p.load)
			}
		}
	}
}

func (p *plan) drawFaults(r *rand.Rand) {
	all := slices.DeleteFunc(simFaults(), func(f simFault) bool { return f.lone && p.brokers > 1 })
	for range 1 + r.IntN(4) {
		f := all[r.IntN(len(all))]
		f.at = between(r, 0, p.load)
		f.lasts = between(r, 50*time.Millisecond, 6*time.Second)
		f.count = 1 + r.IntN(4)
		p.faults = append(p.faults, f)
	}
}

func (p *plan) drawLives(r *rand.Rand) {
	for range 1 + r.IntN(3) {
		l := life{
			at:        between(r, 0, p.load+time.Second),
			kill:      chance(r, 70),
			pause:     between(r, time.Millisecond, 500*time.Millisecond),
			indexLost: chance(r, 20),
		}
		if l.kill && chance(r, 85) {
			o := operation(r.IntN(int(operationCount)))
			l.doom = &kill{
				at: o, nth: 1 + r.IntN(typicalOperations[o]), moment: before + moment(r.IntN(3)), unsynced: 100,
			}
			if chance(r, 40) {
				l.doom.unsynced = r.IntN(100)
			}
			l.at = p.load + 4*time.Second
		}
		p.lives = append(p.lives, l)
	}
}

func (p *plan) drawAppends(r *rand.Rand) {
	for i := range 1 + r.IntN(5) {
		p.appends = append(p.appends, simAppend{
			id: fmt.Sprint(foreignID, i), at: between(r, 0, p.load), copyAfter: between(r, time.Second, 3*time.Second),
		})
	}
}

func (p *plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d brokers, %d partitions, lag %v, deadline %v, sources spool %v, load for %v\n", p.seed, p.brokers, p.partitions, p.lag, p.deadline, p.spools, p.load)
	for _, s := range p.senders {
		fmt.Fprintf(&b, "  send event %d at %v, patience %v, pause %v, tries %d\n", s.event, s.at, s.patience, s.pause, s.tries)
	}
	for _, a := range p.appends {
		fmt.Fprintf(&b, "  another relay appends %s at %v, copy %v later\n", a.id, a.at, a.copyAfter)
	}
	for _, f := range p.faults {
		fmt.Fprintf(&b, "  fault %q at %v for %v, %d times\n", f.name, f.at, f.lasts, f.count)
	}
	for _, l := range p.lives {
		fmt.Fprintf(&b, "  %v\n", l)
	}
	return b.String()
}
