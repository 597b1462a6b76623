// Package follow keeps an index true to its topics: it is the projection of the
// log that the index holds.
//
// The simple idea: for each partition, know which offsets the index already
// covers, and read the others. A relay's own acknowledged records are covered
// by Commit, from what the relay knows of them, and are not fetched and decoded
// a second time; so what is read is only what came before this process, what
// other producers wrote, and what a late acknowledgement left open.
//
// It promises that a checkpoint is never ahead of the facts before it, that the
// end it reads to is the high watermark, taken once and awaited (aborted and
// control records count as read, an open transaction is waited for), and that a
// log that lost records, or was made anew, takes its facts with it before
// anything more is answered from them. Until the whole window of every topic
// has been read it is not CaughtUp.
package follow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"hooklog/relay/index"
	"hooklog/schemas"
)

const (
	// defaultInterval is how often ends are asked for. A foreign record is
	// noticed at the first poll after its append and fetched at the second
	// (an own one will have been acknowledged by then): 50 ms and a fetch.
	defaultInterval = 25 * time.Millisecond
	// topicInterval is how often topic IDs and partition counts are compared.
	topicInterval = time.Second
	// saveInterval is how often checkpoints are written: what an unclean stop
	// reads again.
	saveInterval = time.Second
	// requestTimeout bounds one question to the brokers.
	requestTimeout = 5 * time.Second
	// maxPollRecords bounds one batch of facts.
	maxPollRecords = 10_000
)

// Options are what New needs.
type Options struct {
	// Client says how to reach the brokers: seeds, TLS, SASL.
	Client []kgo.Opt
	Index  *index.Index
	// Topics are followed whole; they must exist before Run can catch up.
	Topics []string
	// Window is how much of a topic without checkpoints is read; zero means
	// index.DefaultWindow.
	Window time.Duration
	// Interval is how often ends are asked for; zero means 25 ms.
	Interval time.Duration
	// Now is the clock; nil means time.Now.
	Now    func() time.Time
	Logger *slog.Logger
}

// Follower follows topics. Its methods may be called while Run runs.
type Follower struct {
	opts   Options
	client *kgo.Client
	log    *slog.Logger

	caughtUp atomic.Bool
	problem  atomic.Pointer[string] // why the brokers do not answer as they should; nil: they do

	// mu guards all below. It is held while facts are applied, so that a topic
	// cannot change its reference between a fact and its coverage; the index's
	// own mutex comes after it.
	mu        sync.Mutex
	topics    map[string]*topicState
	checked   time.Time // when topic IDs were last compared
	saved     time.Time
	copies    int64
	foreign   int64
	undecoded int64
}

type topicState struct {
	name       string
	id         index.TopicID
	ref        index.TopicRef
	partitions []*partitionState
}

// partitionState is what is known of one partition.
type partitionState struct {
	coverage
	known   bool      // end has been asked for
	end     int64     // the high watermark at the last refresh
	before  int64     // the one before it: what is open below it is nobody's pending acknowledgement
	asked   time.Time // when the request for end was sent
	goal    int64     // the first end: catching up means to cover it
	start   int64     // where catching up began
	saved   int64     // the checkpoint as written
	reading bool
	next    int64 // the next offset to come
}

// New returns a follower; nothing is read before Run.
func New(o Options) (*Follower, error) {
	if o.Interval == 0 {
		o.Interval = defaultInterval
	}
	if o.Window == 0 {
		o.Window = index.DefaultWindow
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	client, err := kgo.NewClient(append(
		append([]kgo.Opt{}, o.Client...),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // a transaction's marker may be the last record before the end
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxWait(500*time.Millisecond),
		kgo.FetchMaxBytes(16<<20),
		kgo.FetchMaxPartitionBytes(4<<20),
		kgo.MetadataMinAge(250*time.Millisecond),
	)...)
	if err != nil {
		return nil, fmt.Errorf("follow: %w", err)
	}
	return &Follower{opts: o, client: client, log: o.Logger, topics: make(map[string]*topicState)}, nil
}

// Run follows until ctx is done, writes the last checkpoints and returns nil.
// It returns an error only if the index fails; brokers that do not answer are
// asked again for ever, see Problem.
func (f *Follower) Run(ctx context.Context) error {
	defer f.client.Close()
	for ctx.Err() == nil {
		pause := f.opts.Interval
		err := f.refresh(ctx)
		switch {
		case ctx.Err() != nil:
		case errors.As(err, new(brokerError)):
			f.setProblem(err.Error())
			pause *= 10
		case err != nil:
			return err
		default:
			f.setProblem("")
		}
		if err := f.read(ctx, pause); err != nil {
			return err
		}
		if err := f.save(false); err != nil {
			return err
		}
	}
	return f.save(true)
}

// CaughtUp reports whether the index covers everything the log held when it was
// last compared as a whole.
func (f *Follower) CaughtUp() bool { return f.caughtUp.Load() }

// Problem says why the brokers cannot be followed at the moment, or "".
func (f *Follower) Problem() string {
	if p := f.problem.Load(); p != nil {
		return *p
	}
	return ""
}

func (f *Follower) setProblem(text string) {
	old := f.Problem()
	switch {
	case text == old:
		return
	case text == "":
		f.log.Info("following the log again")
		f.problem.Store(nil)
	default:
		if old == "" {
			f.log.Warn("cannot follow the log, trying again", "err", text)
		}
		f.problem.Store(&text)
	}
}

// Own is an own record that was acknowledged.
type Own struct {
	Key      schemas.EventKey
	Position schemas.Position
	Time     time.Time
	BodySum  uint32
}

// Commit takes own records into the index: after it has returned, Lookup finds
// them. Records of a topic that is not followed (yet) are left to be read.
func (f *Follower) Commit(own []Own) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	facts := make([]index.Fact, 0, len(own))
	for i := range own {
		o := &own[i]
		if t := f.topics[o.Position.Topic]; t != nil {
			facts = append(facts, index.Fact{
				Key: o.Key, Topic: t.ref, Partition: o.Position.Partition, Offset: o.Position.Offset,
				Time: o.Time, BodySum: o.BodySum,
			})
		}
	}
	copies, err := f.opts.Index.Apply(facts, nil)
	if err != nil {
		return err
	}
	f.copies += int64(copies)
	for i := range own {
		pos := own[i].Position
		if t := f.topics[pos.Topic]; t != nil && int(pos.Partition) < len(t.partitions) {
			t.partitions[pos.Partition].add(pos.Offset, pos.Offset+1)
		}
	}
	return nil
}

// Mark is how far a partition has been read.
type Mark struct {
	Partition int32
	// Low: everything before it is covered.
	Low int64
	// End is the high watermark as it was at Asked or later.
	End   int64
	Asked time.Time
}

// Marks returns the marks of a topic's partitions; none if it is not known yet.
func (f *Follower) Marks(topic string) []Mark {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.topics[topic]
	if t == nil {
		return nil
	}
	out := make([]Mark, len(t.partitions))
	for i, p := range t.partitions {
		out[i] = Mark{Partition: int32(i), Low: p.low, End: p.end, Asked: p.asked}
	}
	return out
}

// Stats is what an operator sees of a follower.
type Stats struct {
	CaughtUp bool
	// Read and Total count records while catching up.
	Read, Total int64
	// Foreign records were fetched, not acknowledged to this process; Copies
	// are further records of an event the index knew; Undecoded are none of
	// ours.
	Foreign, Copies, Undecoded int64
	// Behind is how many records are not covered yet.
	Behind int64
}

// Stats returns the current figures.
func (f *Follower) Stats() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := Stats{CaughtUp: f.CaughtUp(), Foreign: f.foreign, Copies: f.copies, Undecoded: f.undecoded}
	for _, t := range f.topics {
		for _, p := range t.partitions {
			s.Read += min(p.low, p.goal) - p.start
			s.Total += p.goal - p.start
			s.Behind += max(0, p.end-p.low)
		}
	}
	return s
}

// save writes the checkpoints that have moved, now and then or at once.
func (f *Follower) save(atOnce bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.opts.Now()
	if !atOnce && now.Sub(f.saved) < saveInterval {
		return nil
	}
	f.saved = now
	var marks []index.Checkpoint
	for _, t := range f.topics {
		for i, p := range t.partitions {
			if p.known && p.low != p.saved {
				marks = append(marks, index.Checkpoint{Topic: t.ref, Partition: int32(i), Offset: p.low})
			}
		}
	}
	if len(marks) == 0 {
		return nil
	}
	if _, err := f.opts.Index.Apply(nil, marks); err != nil {
		return err
	}
	for _, t := range f.topics {
		for _, p := range t.partitions {
			p.saved = p.low
		}
	}
	return f.opts.Index.Expire(now)
}
