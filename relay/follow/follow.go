package follow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"hooklog/relay/index"
	"hooklog/schemas"
)

const (
	// defaultInterval is how often ends are asked for. A foreign record is
	// noticed at the first refresh after its append and fetched at the second
	// (an own one will have been acknowledged by then): 50 ms and a fetch.
	defaultInterval = 25 * time.Millisecond
	// topicInterval is how often topic IDs, leaders and partition counts are
	// compared.
	topicInterval = time.Second
	// defaultSaveInterval is how often checkpoints are written: what an unclean
	// stop reads again. The facts before them are written with them, and many at
	// once cost less than few at a time.
	defaultSaveInterval = 5 * time.Second
	// shortInterval is how long a log must be shorter than what was read of it
	// until that is believed: a broker that does not know yet that it leads no
	// more answers with an old end.
	shortInterval = time.Second
	// requestTimeout bounds one question to the brokers.
	requestTimeout = 5 * time.Second
	// maxRetryPause bounds how long a broker that was gone is left alone.
	maxRetryPause = 500 * time.Millisecond
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
	// WindowOf says how long the event IDs of a source are remembered; zero, and
	// nil for all of them, means as long as the index does.
	WindowOf func(schemas.SourceName) time.Duration
	// Interval is how often ends are asked for; zero means 25 ms.
	Interval time.Duration
	// SaveInterval is how often checkpoints are written; zero means 5 s.
	SaveInterval time.Duration
	// Now is the clock that Window is counted back from; nil means time.Now.
	Now    func() time.Time
	Logger *slog.Logger
}

// Follower follows topics. Its methods may be called while Run runs.
type Follower struct {
	opts   Options
	client *kgo.Client // used by Run alone
	log    *slog.Logger

	caughtUp atomic.Bool
	problem  atomic.Pointer[string] // why the log cannot be followed; nil: it can

	checked time.Time // when topics were last compared; used by Run alone
	logged  time.Time // when progress was last logged; used by Run alone

	// mu guards all below. It is held while facts are applied, so that a topic
	// cannot change its reference between a fact and its coverage; the index's
	// own mutex comes after it. Brokers are never waited for under it.
	mu     sync.Mutex
	topics map[string]*topicState
	saved  time.Time
	// behindSince is when catching up began; zero before it does.
	behindSince time.Time
	copies      int64
	foreign     int64
	undecoded   int64
}

// New returns a follower; nothing is opened or read before Run.
func New(o Options) (*Follower, error) {
	if o.Interval == 0 {
		o.Interval = defaultInterval
	}
	if o.SaveInterval == 0 {
		o.SaveInterval = defaultSaveInterval
	}
	if o.Window == 0 {
		o.Window = index.DefaultWindow
	}
	if o.WindowOf == nil {
		o.WindowOf = func(schemas.SourceName) time.Duration { return 0 }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Client = append(
		append([]kgo.Opt{}, o.Client...),
		// Offsets are asked of the leaders that the client knows; it learns of
		// new ones no more often than this.
		kgo.MetadataMinAge(250*time.Millisecond),
		kgo.RetryBackoffFn(func(n int) time.Duration { return min(20*time.Millisecond<<min(n, 5), maxRetryPause) }),
	)
	if err := kgo.ValidateOpts(o.Client...); err != nil {
		return nil, fmt.Errorf("follow: %w", err)
	}
	return &Follower{opts: o, log: o.Logger, topics: make(map[string]*topicState)}, nil
}

// brokerError is a failure that passes when the brokers are well again.
type brokerError struct{ err error }

func (e brokerError) Error() string { return e.err.Error() }
func (e brokerError) Unwrap() error { return e.err }

// Run follows until ctx is done, writes the last checkpoints and returns nil.
// It returns an error only if the index fails; brokers that do not answer are
// asked again for ever, see Problem. It may be called once.
func (f *Follower) Run(ctx context.Context) error {
	client, err := kgo.NewClient(f.opts.Client...)
	if err != nil {
		return fmt.Errorf("follow: %w", err)
	}
	defer client.Close()
	f.client = client
	for ctx.Err() == nil {
		began := time.Now()
		err := f.refresh(ctx)
		if err != nil && !errors.As(err, new(brokerError)) {
			return err
		}
		f.logProgress()
		more, readErr := f.read(ctx)
		if readErr != nil && !errors.As(readErr, new(brokerError)) {
			return readErr
		}
		if err := f.save(false); err != nil {
			return err
		}
		if ctx.Err() != nil {
			break
		}
		next := began.Add(f.opts.Interval)
		if err := errors.Join(err, readErr); err != nil {
			f.setProblem(strings.ReplaceAll(err.Error(), "\n", "; "))
			next = time.Now().Add(10 * f.opts.Interval)
		} else {
			f.setProblem("")
			if more {
				continue
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Until(next)):
		}
	}
	return f.save(true)
}

// CaughtUp reports whether the index covers everything the log held when it was
// last compared as a whole. It is false before a topic's facts are dropped, and
// until they have been read again: whoever finds an event unknown and then sees
// true has asked a whole index.
func (f *Follower) CaughtUp() bool { return f.caughtUp.Load() }

// Problem says why the log cannot be followed at the moment, or "".
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
	// Window and Since are as index.Fact has them.
	Window time.Duration
	Since  uint64
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
				Time: o.Time, BodySum: o.BodySum, Window: o.Window, Since: o.Since,
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
		if p := f.partitionOf(at{pos.Topic, pos.Partition}); p != nil && p.known {
			p.add(pos.Offset, pos.Offset+1)
		}
	}
	return nil
}
