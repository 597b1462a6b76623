package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"hooklog/relay/claim"
	"hooklog/schemas"
)

// replaceEvery is how old a client must be to be replaced.
const replaceEvery = 250 * time.Millisecond

// errStalled releases a claim that was made while the log does not acknowledge.
var errStalled = errors.New("log does not acknowledge")

// settlement is what a promise hands to the settler.
type settlement struct {
	claim *claim.Claim
	// topic is where the record was meant to go; position is only known
	// without an error.
	topic    string
	position schemas.Position
	time     time.Time     // of the record
	received time.Time     // when the request came: the record's time before it was cut to milliseconds
	window   time.Duration // how long its event's ID is remembered
	since    uint64        // as index.Fact has it
	drained  *Server       // whose spool the record comes from; nil for a request's
	// serial counts records in the order they were handed to the producer. With
	// an error it is the latest there was when the error came: a record with a
	// higher one was handed over afterwards.
	serial uint64
	client uint64 // which of the producer's clients had it
	err    error
}

// producer writes records and reports what became of them. A record is written
// at most once by each client; the client is replaced when it can no longer
// promise that.
type producer struct {
	opts    []kgo.Opt
	claims  *claim.Table
	settled chan<- settlement
	log     *slog.Logger
	ack     prometheus.Observer

	// lifetime is the server's context: it ends after the last flush, never
	// with a request.
	lifetime context.Context

	serial      atomic.Uint64
	outstanding atomic.Int64 // records without a promise yet
	progress    atomic.Int64 // when an acknowledgement last came, or outstanding left zero; Unix ns
	probed      atomic.Int64 // when a record was last let through to a silent log; Unix ns

	replacing atomic.Pointer[kgo.Client] // who is replaced, or was the last to be

	mu       sync.RWMutex // guards the four below; held while producing, so that no client is replaced under a record
	client   *kgo.Client
	made     time.Time // when the client was
	number   uint64    // of the client
	closed   bool
	retiring sync.WaitGroup // clients being closed
	promises sync.WaitGroup // records whose promise has not ended
}

// produceOpts are the options of the producing client, each written out: the
// defaults serve throughput, ours serve "at most once, acknowledged by all".
func produceOpts(o *Options, batchBytes func(topic string) int32) []kgo.Opt {
	return append(
		append([]kgo.Opt{}, o.Client...),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), // murmur2, as the Java client
		kgo.ProducerLinger(0),                                // a batch fills while the one before it is on its way
		kgo.ProducerBatchMaxBytesFn(batchBytes),
		kgo.ProducerBatchCompression(o.Compression),
		kgo.MaxBufferedRecords(2*o.Limits.InFlight), // those being answered, and as many whose senders gave up
		kgo.MaxBufferedBytes(2*o.Limits.InFlightBytes),
		kgo.ProduceRequestTimeout(10*time.Second),
		// A record is never given up: an error would leave its claim in doubt,
		// and a second attempt by us could double it.
		kgo.UnknownTopicRetries(-1),
		// The client would go on after it may have written twice.
		kgo.StopProducerOnDataLossDetected(),
		kgo.MetadataMinAge(250*time.Millisecond),
		kgo.RetryBackoffFn(func(n int) time.Duration { return min(50*time.Millisecond<<min(n, 5), time.Second) }),
	)
}

func newProducer(lifetime context.Context, opts []kgo.Opt, claims *claim.Table, settled chan<- settlement, ack prometheus.Observer, log *slog.Logger) (*producer, error) {
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("make producer: %w", err)
	}
	return &producer{
		opts: opts, claims: claims, settled: settled, log: log, ack: ack,
		lifetime: lifetime, client: client, made: time.Now(),
	}, nil
}

// produce hands a record over and settles its claim when the outcome is known,
// which may be long after the request has gone.
//
// Of s it takes claim, window, since and drained.
func (p *producer) produce(rec *kgo.Record, s settlement) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		p.claims.Release(s.claim, kgo.ErrClientClosed)
		if s.drained != nil {
			s.drained.handedBack(s.claim, false)
		}
		return
	}
	start := time.Now()
	if p.outstanding.Add(1) == 1 {
		p.progress.Store(start.UnixNano())
	}
	p.promises.Add(1)
	s.serial, s.client, s.received = p.serial.Add(1), p.number, rec.Timestamp
	client := p.client
	client.TryProduce(p.lifetime, rec, func(r *kgo.Record, err error) {
		s.topic, s.time, s.err = r.Topic, r.Timestamp, err
		s.position = schemas.Position{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}
		p.promise(client, s, start)
	})
}

// errNoPosition is the error of a record that is in the log at a place the
// broker did not say: a retry it recognised (DUPLICATE_SEQUENCE_NUMBER).
var errNoPosition = errors.New("acknowledged without a position")

// promise is called for each record, one at a time, and never blocks: it tells
// who waits and leaves the rest to the settler, whose channel has room for
// every claim there can be.
func (p *producer) promise(client *kgo.Client, s settlement, start time.Time) {
	defer p.promises.Done()
	defer p.outstanding.Add(-1)
	if s.err == nil && s.position.Offset < 0 {
		s.err = errNoPosition
	}
	if s.drained != nil {
		defer s.drained.handedBack(s.claim, !errors.Is(s.err, kgo.ErrMaxBuffered))
	}
	switch {
	case s.err == nil:
		now := time.Now()
		p.progress.Store(now.UnixNano())
		p.ack.Observe(now.Sub(start).Seconds())
		p.claims.Commit(s.claim, s.position)
	case errors.Is(s.err, kgo.ErrMaxBuffered):
		// The one refusal that proves absence: the record was never taken.
		p.claims.Release(s.claim, s.err)
		return // Nothing is left to settle.
	default:
		s.serial = p.serial.Load()
		p.claims.Doubt(s.claim)
		if replaceable(s.err) && p.replacing.Swap(client) != client {
			p.retiring.Add(1)
			go p.replace(client)
		}
	}
	p.settled <- s
}

// replaceable reports whether a client may not produce again: it has found that
// the broker does not know the sequence it is at, it goes on asking for a topic
// that was made anew by the ID of the old one, or it was refused a producer ID
// and never asks for another. To replace one that would have gone on is no harm.
func replaceable(err error) bool {
	for _, fatal := range []error{
		kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID, kerr.InvalidProducerIDMapping, kerr.InvalidProducerEpoch,
		kerr.UnknownTopicID, kerr.ClusterAuthorizationFailed, kerr.UnknownServerError, kerr.InvalidRequest,
	} {
		if errors.Is(err, fatal) {
			return true
		}
	}
	return false
}

// replace retires a client in favour of a new one. What the old one still held
// fails with ErrClientClosed and is in doubt.
func (p *producer) replace(old *kgo.Client) {
	defer p.retiring.Done()
	p.mu.RLock()
	age := time.Since(p.made)
	p.mu.RUnlock()
	// A broker that refuses every client must not be asked with every record.
	time.Sleep(replaceEvery - age)
	p.mu.Lock()
	if p.client != old || p.closed {
		p.mu.Unlock()
		return
	}
	client, err := kgo.NewClient(p.opts...)
	if err != nil {
		panic("BUG: options that made a client make another: " + err.Error())
	}
	p.client, p.made = client, time.Now()
	p.number++
	p.mu.Unlock()
	p.log.Warn("producer lost its place in the log and is replaced")
	old.Close()
}

// admits reports whether a record should be handed over at all: not if the log
// has been silent for a whole deadline, apart from one record a second that
// finds out whether it is back.
func (p *producer) admits(now time.Time, deadline time.Duration) bool {
	if !p.stalled(now, deadline) {
		return true
	}
	last := p.probed.Load()
	return now.UnixNano()-last >= int64(time.Second) && p.probed.CompareAndSwap(last, now.UnixNano())
}

// stalled reports whether records wait and none has been acknowledged for that
// long.
func (p *producer) stalled(now time.Time, d time.Duration) bool {
	return p.outstanding.Load() > 0 && now.UnixNano()-p.progress.Load() > int64(d)
}

// now is the number of the client that records are handed to, and the serial of
// the latest of them.
func (p *producer) now() (client, serial uint64) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.number, p.serial.Load()
}

// close takes no more records, flushes until ctx is done and then gives up what
// is left, which was acknowledged to nobody or is in the spool. When it returns
// every promise has been called.
func (p *producer) close(ctx context.Context) {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	err := p.client.Flush(ctx)
	left := p.outstanding.Load()
	p.client.Close()
	p.promises.Wait() // Closing a client ends its records, but does not wait for their promises.
	p.retiring.Wait()
	if err != nil && left > 0 {
		p.log.Warn("shut down before the log had acknowledged everything: no sender was told that these events are in it", "events", left, "err", err)
	}
}
