package relay

import (
	"errors"
	"log/slog"
	"time"

	"hooklog/relay/claim"
	"hooklog/relay/follow"
	"hooklog/relay/index"
)

const (
	// settleEvery is how long facts are gathered before they are written as
	// one batch. Until then their claims answer for them.
	settleEvery = 5 * time.Millisecond
	settleBatch = 1024
	// doubtEvery is how often claims in doubt are looked at.
	doubtEvery = 50 * time.Millisecond
	// idleAfter is when a partition in which the client produces nothing any more
	// is taken at its word: what a client that gave up still had on the wire has
	// arrived by then or was cut off with its connection.
	idleAfter = 5 * time.Second
)

// errNotInLog releases a claim whose record was proven absent.
var errNotInLog = errors.New("record is not in the log")

// settler writes the facts of acknowledged records and resolves claims in
// doubt. It is one goroutine: whatever it waits for, no promise waits for it.
type settler struct {
	in       <-chan settlement
	claims   *claim.Table
	index    *index.Index
	follower *follow.Follower
	spooled  *spooled
	metrics  *metrics
	log      *slog.Logger

	batch  []settlement
	own    []follow.Own
	doubts []*doubt
	latest map[partitionKey]acked
}

type partitionKey struct {
	topic     string
	partition int32
}

// acked is the latest acknowledged record of a partition.
type acked struct {
	client uint64
	serial uint64
	offset int64
}

// doubt is the claims of a topic that came into doubt within one tick.
//
// Why a failed promise proves nothing, and what does: the broker may have
// appended an attempt whose answer was lost. The client has moved to a new
// producer epoch since, so once a later record of that client is acknowledged
// in that partition older attempts are refused there, and reading the log up to
// that record finds this one or proves its absence. Which partition it was is
// not always known, so all are awaited. A client that has replaced it is another
// producer, whose records keep no attempt out: those of a client that is closed
// are in doubt as on an idle partition.
type doubt struct {
	topic    string
	client   uint64
	claims   []doubtful
	serial   uint64    // no record up to it proves anything about them
	since    time.Time // when the latest of them failed
	barriers map[int32]int64
}

// doubtful is a claim in doubt.
type doubtful struct {
	claim *claim.Claim
	// notBefore is that of the lookup that did not know the event. An older
	// record, whose ID the window has let go, is not the one that is sought.
	notBefore time.Time
	err       error // the producer's
}

// run settles until in is closed and all has been written. It returns an error
// if the index fails; then nothing more is settled.
func (s *settler) run() error {
	s.latest = make(map[partitionKey]acked)
	doubts := time.NewTicker(doubtEvery)
	defer doubts.Stop()
	gather := time.NewTimer(settleEvery)
	defer gather.Stop()
	for {
		select {
		case first, open := <-s.in:
			if !open {
				return nil
			}
			s.batch = append(s.batch[:0], first)
			gather.Reset(settleEvery)
			open = s.gather(gather.C)
			if err := s.settle(); err != nil {
				return err
			}
			if !open {
				return nil
			}
		case now := <-doubts.C:
			if err := s.resolve(now); err != nil {
				return err
			}
		}
	}
}

// gather fills the batch until it is full, the time is up or in is closed.
func (s *settler) gather(up <-chan time.Time) (open bool) {
	for len(s.batch) < settleBatch {
		select {
		case next, open := <-s.in:
			if !open {
				return false
			}
			s.batch = append(s.batch, next)
		case <-up:
			return true
		}
	}
	return true
}

// settle writes a batch. A claim is forgotten only after its fact can be read.
func (s *settler) settle() error {
	s.own = s.own[:0]
	for i := range s.batch {
		b := &s.batch[i]
		if b.err != nil {
			s.doubt(b)
			continue
		}
		s.own = append(s.own, follow.Own{
			Key: b.claim.Key(), Position: b.position, Time: b.time, BodySum: b.claim.BodySum(), Window: b.window, Since: b.since,
		})
		k := partitionKey{b.position.Topic, b.position.Partition}
		if b.serial > s.latest[k].serial {
			s.latest[k] = acked{b.client, b.serial, b.position.Offset}
		}
	}
	if err := s.follower.Commit(s.own); err != nil {
		return err
	}
	for i := range s.batch {
		if b := &s.batch[i]; b.err == nil {
			s.committed(b.claim)
		}
		s.batch[i] = settlement{}
	}
	return nil
}

// committed ends a claim whose fact the index has. The fact comes first, then
// the entry in the spool goes: a crash between the two leaves an entry that is
// known.
func (s *settler) committed(c *claim.Claim) {
	if drained := s.spooled.committed(c); !drained && c.Left() {
		s.metrics.late.Inc()
	}
	s.claims.Forget(c)
}

// doubt files a claim in doubt with those that failed just before it.
func (s *settler) doubt(b *settlement) {
	now := time.Now()
	var d *doubt
	if n := len(s.doubts); n > 0 && s.doubts[n-1].topic == b.topic && s.doubts[n-1].client == b.client && now.Sub(s.doubts[n-1].since) < doubtEvery && len(s.doubts[n-1].barriers) == 0 {
		d = s.doubts[n-1]
	} else {
		d = &doubt{topic: b.topic, client: b.client, barriers: make(map[int32]int64)}
		s.doubts = append(s.doubts, d)
		s.log.Warn("events in doubt: the log may or may not hold them", "topic", b.topic, "err", b.err)
	}
	d.claims = append(d.claims, doubtful{b.claim, b.received.Add(-b.window), b.err})
	d.serial = max(d.serial, b.serial)
	d.since = now
}

// resolve looks at the claims in doubt.
func (s *settler) resolve(now time.Time) error {
	kept := s.doubts[:0]
	for _, d := range s.doubts {
		done, err := s.resolveOne(d, now)
		if err != nil {
			return err
		}
		if !done {
			kept = append(kept, d)
		}
	}
	clear(s.doubts[len(kept):])
	s.doubts = kept
	return nil
}

func (s *settler) resolveOne(d *doubt, now time.Time) (done bool, err error) {
	proven := s.proven(d, now)
	left := d.claims[:0]
	for _, c := range d.claims {
		fact, known, err := s.index.Lookup(c.claim.Key(), c.notBefore)
		if err != nil {
			return false, err
		}
		switch {
		case known:
			s.claims.Commit(c.claim, s.index.Position(fact))
			s.committed(c.claim)
		case proven:
			s.claims.Release(c.claim, errNotInLog)
			s.spooled.absent(c.claim, c.err)
		default:
			left = append(left, c)
		}
	}
	d.claims = left
	return len(left) == 0, nil
}

// proven reports whether the follower has read so far that what it did not
// find is not there.
func (s *settler) proven(d *doubt, now time.Time) bool {
	marks := s.follower.Marks(d.topic)
	for _, m := range marks {
		barrier, ok := d.barriers[m.Partition]
		if !ok {
			last, any := s.latest[partitionKey{d.topic, m.Partition}]
			switch {
			case any && last.client == d.client && last.serial > d.serial:
				barrier = last.offset + 1
			case now.Sub(d.since) > idleAfter && m.Asked.Sub(d.since) > idleAfter:
				barrier = m.End
			default:
				return false
			}
			d.barriers[m.Partition] = barrier
		}
		if m.Low < barrier {
			return false
		}
	}
	return len(marks) > 0
}
