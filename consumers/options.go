package consumers

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"hooklog/schemas"
)

// Handler handles one event at a time (delivery mode each). nil means done;
// any other error is retried by the group's policy and then dead-lettered; see
// RetryAfter and Permanent. An event may come more than once: its ID (with its
// source) is the idempotency key. Handle is called concurrently, also for one
// partition, so events come in no order.
//
// The context ends at the group's Timeout, and earlier when the group stops or
// loses the partition; a handler that ignores it keeps its place in
// MaxInFlight, and keeps Run from returning. The event is shared with the
// group's other routes: its slices may be kept but not changed. A panic counts
// as an error.
type Handler interface {
	Handle(ctx context.Context, ev schemas.Event) error
}

// Sink takes events in offset order per partition (delivery modes batch and
// atomic). Its methods are never called concurrently. After an error of any of
// them the group leaves, waits, and comes back with Assigned at the committed
// offsets: what was written since then comes again. One sink may serve several
// routes of a group, an event that several of them match is written once; it
// must not serve two groups. A sink that is also a Pacer says itself when it
// wants to be flushed. The caller who made a sink closes it, after Run.
type Sink interface {
	// Assigned tells which partitions are now this sink's alone, and the
	// offsets the group would start at. It may move them to what the sink
	// already holds, and returns where to start. It is called again with the
	// whole set whenever that changes: a partition that is new starts at the
	// given offset, so what the sink holds at or beyond it and was not asked
	// to keep must go; one that was there before is unchanged, whatever
	// offset is given and returned; one that is gone must not be made durable
	// any more. Where a group has several sinks the lowest answer counts, and
	// a sink that answered more drops what it already holds.
	Assigned(ctx context.Context, start Offsets) (Offsets, error)
	// Write takes events of assigned partitions. They stay valid, and must
	// not be changed. A rebalance waits for it, and for Flush: longer than
	// Options.DrainTimeout puts the membership at risk.
	Write(ctx context.Context, events []schemas.Event) error
	// Flush makes everything before these offsets durable; the group commits
	// them after it returned nil, never before. Partitions that are not
	// named need no flush; a named one may have had no event for this sink.
	Flush(ctx context.Context, upTo Offsets) error
}

// Pacer is a Sink that decides when its partitions are flushed; others are
// flushed every Options.CommitEvery.
type Pacer interface {
	// FlushBy returns when a partition is to be flushed: a time that has
	// passed means now, the zero time that nothing of it waits. It is called
	// between the methods of Sink, never beside them.
	FlushBy(TopicPartition) time.Time
}

// Offsets maps partitions to the next offset to read.
type Offsets map[TopicPartition]int64

// TopicPartition names a partition.
type TopicPartition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
}

// Start says where a group that was never seen before begins; the zero value
// is Earliest. "Seen" means that it has a committed offset or a marker in
// Options.Dir. Partitions and topics that come later start at their beginning.
type Start struct {
	Latest bool
	// Time, if not zero, starts at the first record received at or after it.
	Time time.Time
}

// Route sends the events that match to one handler or one sink; exactly one of
// the two is set, and all routes of a group set the same one.
type Route struct {
	// Name labels metrics and dead letters; unique in the group. It may be
	// empty where the group has only this route.
	Name string
	// Source and Type are globs ("*" any run of characters, "?" one); empty
	// means "*".
	Source, Type string
	Handler      Handler
	Sink         Sink
}

// Retry is the policy for failing handlers: attempts in all, and the waits
// between them, doubling from Min to Max with jitter. The zero value of a
// field means 5, 1 s, 1 min. Groups with sinks retry for ever, with the same
// waits: a failing sink is no fault of an event.
type Retry struct {
	Attempts int
	Min, Max time.Duration
}

// LostOffset says what becomes of a partition whose committed offset is
// missing, or no longer in the log.
type LostOffset uint8

const (
	// LostOffsetStop stops the partition and names the gap; the group's other
	// partitions go on.
	LostOffsetStop LostOffset = iota
	// LostOffsetEarliest goes on at the oldest record there is.
	LostOffsetEarliest
)

// Options are what a group needs.
type Options struct {
	// Group is the group.id.
	Group string
	// Topics are read; at least one. One that does not exist is waited for.
	Topics []string
	// Client says how to reach the brokers: seeds, TLS, SASL.
	Client []kgo.Opt
	Start  Start
	Routes []Route
	Retry  Retry
	// Timeout bounds one attempt of a handler; zero means 30 s.
	Timeout time.Duration
	// MaxInFlight bounds how many events are handled at once; zero means 64.
	// One that waits for its next attempt does not count.
	MaxInFlight int
	// DrainTimeout bounds how long running handlers are waited for, and sinks
	// may take to flush, when the group stops or loses a partition; zero
	// means 30 s.
	DrainTimeout time.Duration
	// CommitEvery is the time between commits; zero means 1 s. What was
	// handled within it comes again after a crash.
	CommitEvery time.Duration
	// OnLostOffset decides about partitions whose position was lost.
	OnLostOffset LostOffset
	// DeadLetter is the topic for what failed for good; empty means
	// "<group>.dead". It is made if it is missing.
	DeadLetter string
	// DeadLetterReplication is used when it is made; zero means 1.
	DeadLetterReplication int16
	// Dir is the group's own folder, data/groups/<group>; it is made if
	// needed. Empty means none: then a group whose committed offsets expired
	// cannot be told from a new one, which only a Start at the earliest
	// record allows.
	Dir string
	// Registerer takes the metrics; several groups may share one. nil means
	// that nobody reads them.
	Registerer prometheus.Registerer
	// Logger may be nil, for none.
	Logger *slog.Logger
}

// Defaults of Options and Retry. Each has its reason beside it.
const (
	DefaultAttempts     = 5 // with the waits below: about 15 s, a restart of what a handler talks to
	DefaultRetryMin     = time.Second
	DefaultRetryMax     = time.Minute
	DefaultTimeout      = 30 * time.Second
	DefaultMaxInFlight  = 64
	DefaultDrainTimeout = 30 * time.Second // one whole attempt
	DefaultCommitEvery  = time.Second
)
