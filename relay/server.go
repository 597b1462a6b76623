package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/valyala/fasthttp"

	"hooklog/relay/claim"
	"hooklog/relay/follow"
	"hooklog/relay/index"
	"hooklog/relay/spool"
)

const (
	// drainTimeout bounds how long requests in flight may take to be answered
	// after a shutdown began, flushTimeout how long their records may.
	drainTimeout = 5 * time.Second
	flushTimeout = 8 * time.Second
)

// Server is one relay. Use it once: New, Listen, Run.
type Server struct {
	opts           Options
	log            *slog.Logger
	throttled      *throttle
	sources        *sources
	metrics        *metrics
	load           load
	requests       sync.Pool
	claims         *claim.Table
	settled        chan settlement
	rate           rate         // at which the spool is drained
	drainAhead     atomic.Int64 // spooled events whose records the producer has
	http           *fasthttp.Server
	listener       *listener
	clock          func() time.Time
	openSpoolStore func(spool.Options) (*spool.Spool, error)
	openIndex      func(index.Options) (*index.Index, error)

	// spool is nil if no source spools and none has. Set by Run before it serves.
	spool     *spool.Spool
	spoolOpen atomic.Bool // true once spool is set, for those who do not serve requests

	// Set by Run before the phase becomes serving; read by requests after.
	index    *index.Index
	follower *follow.Follower
	producer *producer

	phase     atomic.Uint32
	verifying sync.Mutex // held while the index is verified

	// Whether Ready ever found the log well, and when it last did not after that.
	wasReady atomic.Bool
	unwell   atomic.Pointer[outage]
	failure  atomic.Pointer[error]
	failed   chan struct{}
	// abandoned is closed when the producer has given up at shutdown: who still
	// waits for an acknowledgement waits in vain.
	abandoned chan struct{}

	stopOnce    sync.Once
	httpStopped chan struct{} // closed when the last connection is, after stopHTTP
}

// Phases of a Server's life, in order.
const (
	starting uint32 = iota
	serving
	draining
)

// New checks the options and makes a server. It opens nothing.
func New(o Options) (*Server, error) {
	o.setDefaults()
	s := &Server{
		opts:      o,
		log:       o.Logger,
		throttled: newThrottle(o.Logger, 10*time.Second),
		load:      load{maxRequests: int64(o.Limits.InFlight), maxBytes: int64(o.Limits.InFlightBytes)},
		failed:    make(chan struct{}),
		abandoned: make(chan struct{}),

		httpStopped: make(chan struct{}),
		clock:       time.Now,
		openIndex:   index.Open,

		openSpoolStore: spool.Open,
	}
	s.requests.New = func() any { return newRequest() }
	// Claims outlive their requests: until the log answers, and until their
	// facts are written. The producer holds twice the requests in flight; as
	// many again may wait for the settler.
	limit := 4 * o.Limits.InFlight
	s.claims = claim.NewTable(limit)
	s.settled = make(chan settlement, limit)
	var err error
	if s.metrics, err = newMetrics(s, o.Registerer); err != nil {
		return nil, fmt.Errorf("relay metrics: %w", err)
	}
	if s.sources, err = newSources(o.Sources, o.Window, s.metrics); err != nil {
		return nil, err
	}
	for name, src := range s.sources.byName {
		if most := o.Limits.InFlightBytes - o.Limits.HeaderBytes; src.MaxBody > most {
			return nil, fmt.Errorf("source %q: max_body of %d bytes could never be taken: limits.in_flight_bytes leaves %d", name, src.MaxBody, most)
		}
	}
	s.http = &fasthttp.Server{
		Name:                          "hooklog",
		Handler:                       s.handle,
		ErrorHandler:                  s.receiveError,
		HeaderReceived:                s.received,
		Concurrency:                   2 * o.Limits.Connections, // the listener has the limit, and an answer for who is beyond it
		ReadBufferSize:                o.Limits.HeaderBytes,
		ReadTimeout:                   o.Limits.ReadTimeout,
		WriteTimeout:                  o.Limits.ReadTimeout,
		IdleTimeout:                   o.Limits.IdleTimeout,
		StreamRequestBody:             true, // see readBody: fasthttp takes the memory for a body when it is announced
		MaxRequestBodySize:            1,    // what it reads ahead; an error then forgets the address
		DisablePreParseMultipartForm:  true,
		DisableHeaderNamesNormalizing: true, // records hold the names' values as sent; normalizing would write into them
		NoDefaultContentType:          true,
		CloseOnShutdown:               true,
		Logger:                        discardLogger{},
	}
	return s, nil
}

type discardLogger struct{}

func (discardLogger) Printf(string, ...any) {} // errors of single connections: counted, not logged

func (o *Options) setDefaults() {
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	set(&o.Limits.Connections, DefaultConnections)
	set(&o.Limits.InFlight, DefaultInFlight)
	set(&o.Limits.InFlightBytes, DefaultInFlightBytes)
	set(&o.Limits.HeaderBytes, DefaultHeaderBytes)
	if o.Limits.ReadTimeout == 0 {
		o.Limits.ReadTimeout = DefaultReadTimeout
	}
	if o.Limits.IdleTimeout == 0 {
		o.Limits.IdleTimeout = DefaultIdleTimeout
	}
	if o.Window == 0 {
		o.Window = index.DefaultWindow
	}
	if o.Topics.Partitions == 0 {
		o.Topics.Partitions = defaultPartitions
	}
	if o.Topics.Replication == 0 {
		o.Topics.Replication = defaultReplication
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Listen takes the port. It is apart from Run so that a port that is taken is
// known before anything else has begun.
func (s *Server) Listen() error {
	l, err := net.Listen("tcp", s.opts.Listen)
	if err != nil {
		return err
	}
	s.Serve(l)
	return nil
}

// Serve is Listen with a listener of the caller's.
func (s *Server) Serve(l net.Listener) {
	s.listener = newListener(l, s.opts.Limits.Connections, s.refuseConn)
}

// refuseConn answers a connection that is one too many, without waiting for
// its request.
func (s *Server) refuseConn(c net.Conn) {
	ended := refuse(Overloaded, "Too many connections are open.")
	s.sources.nobody.requests[ended.outcome].Inc()
	var resp fasthttp.Response
	writeProblem(&resp, ended)
	resp.SetConnectionClose()
	// A connection that has just been made has room for so little; nothing waits.
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = resp.WriteTo(c)
	_ = c.Close()
}

// Addr returns the address the server listens on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Run serves until ctx is done, then shuts down along the flow of the data:
// unready, no new connections, requests answered, records flushed, facts
// written, index closed. Until the index has caught up requests get 503. It
// returns nil after an orderly shutdown, and the reason if the relay cannot go
// on; the port is closed either way.
func (s *Server) Run(ctx context.Context) (err error) {
	if err := s.openSpool(); err != nil {
		return errors.Join(err, s.listener.Close())
	}
	defer func() {
		if s.spool != nil {
			err = errors.Join(err, s.spool.Close())
		}
	}()
	httpDone := make(chan error, 1)
	httpEnded := false
	go func() { httpDone <- s.http.Serve(s.listener) }()
	defer func() {
		s.phase.Store(draining)
		err = errors.Join(err, s.stopHTTP())
		s.listener.closeAll()
		<-s.httpStopped
		if !httpEnded {
			err = errors.Join(err, <-httpDone)
		}
	}()

	s.index, err = s.openIndex(s.indexOptions())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.index.Close()) }()

	batchBytes, err := s.prepareTopics(ctx)
	if err != nil || ctx.Err() != nil {
		return err
	}
	topics := make([]string, 0, len(batchBytes))
	for t := range batchBytes {
		topics = append(topics, t)
	}
	s.follower, err = follow.New(s.followOptions(s.index, topics))
	if err != nil {
		return err
	}
	lifetime, endLifetime := context.WithCancel(context.Background())
	defer endLifetime()
	opts := produceOpts(&s.opts, func(topic string) int32 {
		if n, ok := batchBytes[topic]; ok {
			return n
		}
		return brokerMaxMessage // Asked for "" when the options are checked.
	})
	s.producer, err = newProducer(lifetime, opts, s.claims, s.settled, s.metrics.ackSeconds, s.log)
	if err != nil {
		return err
	}

	followCtx, stopFollowing := context.WithCancel(context.Background())
	defer stopFollowing()
	followed := make(chan error, 1)
	go func() { followed <- s.follower.Run(followCtx) }()
	remaking := make(chan struct{})
	go func() {
		defer close(remaking)
		s.remakeTopics(followCtx)
	}()
	defer func() { stopFollowing(); <-remaking }()
	settler := &settler{
		in: s.settled, claims: s.claims, index: s.index, follower: s.follower, spooled: s.spooled(), metrics: s.metrics, log: s.log,
	}
	settledAll := make(chan error, 1)
	go func() { settledAll <- settler.run() }()
	s.phase.CompareAndSwap(starting, serving)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		s.drain(followCtx)
	}()
	defer func() { stopFollowing(); <-drained }()

	var followErr, settleErr error
	followEnded, settleEnded := false, false
	select {
	case <-ctx.Done():
	case err = <-httpDone:
		httpEnded = true
		err = errors.Join(errors.New("the listener has ended"), err)
	case <-s.failed:
		err = *s.failure.Load()
	case followErr = <-followed:
		followEnded = true
	case settleErr = <-settledAll:
		settleEnded = true
	}

	s.phase.Store(draining)
	err = errors.Join(err, s.stopHTTP())
	flush, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	s.producer.close(flush)
	close(s.abandoned)
	endLifetime()
	close(s.settled)
	if !settleEnded {
		settleErr = <-settledAll
	}
	stopFollowing()
	if !followEnded {
		followErr = <-followed
	}
	return errors.Join(err, settleErr, followErr)
}

// prepareTopics makes and compares the topics, again and again while the
// brokers do not answer.
func (s *Server) prepareTopics(ctx context.Context) (map[string]int32, error) {
	client, err := kgo.NewClient(s.opts.Client...)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	defer client.Close()
	for {
		try, cancel := context.WithTimeout(ctx, 10*time.Second)
		batchBytes, err := ensureTopics(try, kadm.NewClient(client), s.sources.topics(), &s.opts, s.log)
		cancel()
		if ctx.Err() != nil {
			return nil, nil
		}
		if err == nil || errors.As(err, new(topicError)) {
			return batchBytes, err
		}
		s.throttled.Warn("cannot prepare topics, trying again", "err", err)
		select {
		case <-ctx.Done():
			return nil, nil
		case <-time.After(topicRetry):
		}
	}
}

// remakeTopics makes topics again that were deleted while the relay runs. What
// they held is gone; without them nothing could be accepted until a restart.
func (s *Server) remakeTopics(ctx context.Context) {
	client, err := kgo.NewClient(s.opts.Client...)
	if err != nil {
		panic("BUG: options that made a client make another: " + err.Error())
	}
	defer client.Close()
	again := time.NewTicker(topicRetry)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
		if s.follower.Problem() == "" {
			continue
		}
		try, cancel := context.WithTimeout(ctx, 10*time.Second)
		err := remakeMissing(try, kadm.NewClient(client), s.sources.topics(), &s.opts, s.log)
		cancel()
		if err != nil && ctx.Err() == nil {
			s.throttled.Warn("cannot look after topics, trying again", "err", err)
		}
	}
}

// stopHTTP stops accepting and waits until what is in flight is answered, or no
// longer. It may be called again, to wait again: fasthttp is told once, since it
// takes a second time for nothing to do.
func (s *Server) stopHTTP() (err error) {
	s.stopOnce.Do(func() {
		err = s.listener.Close()
		s.listener.closeSilent()
		go func() {
			defer close(s.httpStopped)
			_ = s.http.Shutdown() // It has nothing to say but that the listener is closed.
		}()
	})
	select {
	case <-s.httpStopped:
	case <-time.After(drainTimeout):
		s.log.Warn("requests are still being answered at shutdown")
	}
	return err
}

// fail ends Run with an error: the relay can no longer keep its promises.
func (s *Server) fail(err error) {
	if s.failure.CompareAndSwap(nil, &err) {
		close(s.failed)
	}
}
