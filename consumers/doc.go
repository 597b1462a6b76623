// Package consumers turns a record into a handled event: it polls, routes,
// retries, dead-letters and commits. A Group is one member of a Kafka consumer
// group, independent of every other group.
//
// # The path of a record
//
//	poll    -> a batch per partition; nothing is taken away until it is handed over   session.go
//	decode  -> else a dead letter of class not_event                                  each.go, batch.go
//	match   -> every route whose globs fit gets the event; none: unrouted             route.go
//	handle  -> attempts, waits, then the dead letter and its ack (mode each)          each.go, retry.go, deadletter.go
//	write   -> in offset order, then flush (mode batch)                               batch.go
//	outcome -> exactly one of a closed set, counted                                   outcome.go, metrics.go
//	mark    -> the position moves over what has its outcome                           window.go, partition.go
//	commit  -> after that, never before                                               commit.go
//
// # What it promises
//
// At least once: an offset is committed only after every record before it has
// its final outcome: handled, unrouted, or dead-lettered with the dead letter
// acknowledged by all in-sync replicas. A record that cannot be finished, for a
// stop, a lost partition or a crash, comes again. Groups with handlers (mode
// each) may see an event again after any of these; the sinks of mode batch say
// themselves what they make of it.
//
// Nothing is skipped silently: a committed offset that is missing, or that the
// log no longer has, stops its partition and names the gap.
//
// Memory is bounded per assigned partition (see partition.go), the time of an
// attempt by Options.Timeout, and retries by Options.Retry. Heartbeats do not
// depend on any of it, so a slow handler stays a member.
//
// # What it does not promise
//
// Order, in mode each: events are handled concurrently. The raw topic is keyed
// by event ID, so one customer's events lie in all partitions; sort by time, or
// use a topic of one partition.
//
// Once, downstream of a handler: the event's ID with its source is the
// idempotency key.
//
// # Rules
//
// Each is a bug when it is forgotten:
//
//  1. An offset is marked only after a final outcome, a dead letter only after
//     its own ack.
//  2. A position is not committed after its partition was given away: looking
//     and committing happen under one lock, which a revocation takes too.
//  3. What was polled is handed over before a rebalance may take it away.
//  4. A failed or unanswered commit of a sink's flush ends the session: the
//     next one goes by what the broker says.
//  5. Shutdown follows the data: stop polling, drain, flush, commit, leave,
//     close, each with a deadline.
package consumers
