package relay

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/valyala/fasthttp"

	"hooklog/relay/claim"
	"hooklog/relay/signature"
	"hooklog/schemas"
)

// handle serves one request: whatever happens, it ends in exactly one outcome,
// which is counted and answered here and nowhere else (but for what fasthttp
// cannot read, see receiveError).
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	r := s.requests.Get().(*request)
	ended := answer{outcome: Internal}
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("request failed in a way it must not", "err", fmt.Sprint(p), "stack", string(debug.Stack()))
			ended = refuse(Internal, "")
		}
		src := r.source
		if src == nil {
			src = s.sources.nobody
		}
		src.requests[ended.outcome].Inc()
		if ended.outcome.durable() {
			writeEvent(&ctx.Response, src, r.id, ended)
		} else {
			writeProblem(&ctx.Response, ended)
		}
		if ended.hangUp {
			ctx.SetConnectionClose()
		}
		if !r.arrived.IsZero() {
			s.metrics.requestSeconds.Observe(s.now().Sub(r.arrived).Seconds())
		}
		s.load.leave(r)
		r.release()
		s.requests.Put(r)
	}()
	ended = s.accept(r, ctx)
}

// accept is the path of an event from the request to the log. It reads top to
// bottom; no step calls back into an earlier one.
func (s *Server) accept(r *request, ctx *fasthttp.RequestCtx) answer {
	wellFormed := r.load(ctx)
	src := s.sources.lookup(r.Target)
	if src == nil {
		return refuse(UnknownSource, "No source has this address.")
	}
	r.source = src
	if !wellFormed {
		return *hangUp(refuse(BadRequest, "The header block is malformed."))
	}
	if string(r.Method) != fasthttp.MethodPost {
		return refuse(MethodNotAllowed, "Events are sent by POST.")
	}
	if reason := s.closedTo(src); reason != "" {
		return refuse(NotReady, reason)
	}
	if refusal := s.readBody(r, ctx); refusal != nil {
		return *refusal
	}
	if reason := s.closedTo(src); reason != "" { // A slow body may outlast what it was sent to.
		return refuse(NotReady, reason)
	}
	r.arrived = s.now()
	if !s.load.enter(r) {
		return refuse(Overloaded, "Too many requests are being worked on.")
	}

	result, refusal := s.verify(r)
	if refusal != nil {
		return *refusal
	}
	s.identify(r)
	if reason := s.notReady(); reason != "" {
		if s.spools(src) {
			return s.keepUnseen(r, result)
		}
		return refuse(NotReady, reason)
	}

	start := s.now()
	key := schemas.KeyOf(src.Name, r.id)
	cl, role := s.claims.Begin(key, r.body)
	switch role {
	case claim.Full:
		return refuse(Overloaded, "Too many events wait for the log.")
	case claim.Joined:
		s.metrics.joined.Inc()
		s.noteConflict(r, cl.BodySum())
		return s.await(r, cl, nil)
	case claim.Owner:
	}
	defer s.abandon(cl, r)
	since := s.index.Version()
	notBefore := r.arrived.Add(-src.Window)
	fact, known, err := s.index.Lookup(key, notBefore)
	s.metrics.claimSeconds.Observe(s.now().Sub(start).Seconds())
	if err != nil {
		s.fail(err)
		s.claims.Release(cl, err)
		return refuse(NotReady, "The index has failed.")
	}
	if known {
		s.metrics.duplicates.Inc()
		s.noteConflict(r, fact.BodySum)
		pos := s.index.Position(fact)
		s.claims.Commit(cl, pos)
		s.claims.Forget(cl)
		return answer{outcome: Duplicate, position: pos}
	}
	if e, ok := s.inSpool(key); ok {
		s.metrics.duplicates.Inc()
		s.noteConflict(r, e.BodySum)
		s.claims.Release(cl, errSpooled)
		return answer{outcome: Spooled}
	}
	if !s.follower.CaughtUp() {
		// It lost its facts since it was asked: what it does not know may be
		// in the log all the same.
		s.claims.Release(cl, errBehind)
		if s.spools(src) {
			return s.keepUnseen(r, result)
		}
		return refuse(NotReady, "The index is catching up with the log.")
	}
	s.metrics.news.Inc()
	event := r.event(result)
	rec := schemas.Encode(&event, src.Topic)
	if !s.producer.admits(s.now(), src.Deadline) {
		if s.spools(src) {
			return s.keepInstead(r, cl, rec, errStalled)
		}
		s.claims.Release(cl, errStalled)
		return refuse(LogUnavailable, "The log does not acknowledge at the moment.")
	}
	s.producer.produce(rec, settlement{claim: cl, window: src.Window, since: since})
	return s.await(r, cl, rec)
}

// abandon settles a claim that its owner leaves behind by a panic: the record
// may or may not have been handed over.
func (s *Server) abandon(cl *claim.Claim, r *request) {
	p := recover()
	if p == nil {
		return
	}
	if s.claims.Doubt(cl) {
		client, serial := s.producer.now()
		select {
		case s.settled <- settlement{
			claim: cl, topic: r.source.Topic, received: r.arrived, window: r.source.Window, client: client, serial: serial, err: errAbandoned,
		}:
		default: // The settler is behind; the claim stays, and answers for the event.
		}
	}
	panic(p)
}

// errBehind releases a claim that was made while the index was whole no more.
var errBehind = errors.New("index is behind the log")

var errAbandoned = errors.New("request failed while it held the claim")

// verify judges the raw bytes, before anything of the body is parsed.
func (s *Server) verify(r *request) (signature.Result, *answer) {
	if r.source.Verifier == nil {
		return signature.Result{}, nil
	}
	if r.source.Verifier.SignsURL() {
		r.URL = r.source.URL
	}
	result, err := r.source.Verifier.Verify(&r.Request, r.arrived)
	s.metrics.verifySeconds.Observe(s.now().Sub(r.arrived).Seconds())
	if err == nil {
		r.source.verified[result.SecretID].Inc()
		return result, nil
	}
	refusal := refuse(BadSignature, "The signature does not verify.")
	var why *signature.Error
	if errors.As(err, &why) {
		refusal.detail = why.Error()
		switch why.Code() {
		case "missing_signature":
			refusal.outcome = MissingSignature
		case "stale_timestamp":
			refusal.outcome = StaleTimestamp
		}
	}
	s.log.Debug("request refused", "source", r.source.Name, "code", refusal.outcome.String(), "err", err)
	return result, &refusal
}

// identify finds the event's ID and type; a hash of the body and "unknown"
// where the provider gives none.
func (s *Server) identify(r *request) {
	if id, ok := r.source.ID.Extract(r.header, r.Body); ok {
		r.id = schemas.CleanID(id)
	} else {
		r.id = schemas.BodyID(r.Body)
	}
	typ, _ := r.source.Type.Extract(r.header, r.Body)
	r.typ = schemas.CleanType(typ)
	r.body = schemas.BodySum(r.Body)
}

// await waits until the claim's outcome is certain or the request's deadline
// has come. The deadline ends the request and changes nothing about the claim:
// an acknowledgement that comes later makes the sender's retry a duplicate. rec
// is the owner's record; nil says that the claim is somebody else's.
func (s *Server) await(r *request, cl *claim.Claim, rec *kgo.Record) answer {
	select {
	case <-cl.Done():
	default:
		r.timer.Reset(r.source.Deadline - s.now().Sub(r.arrived))
		select {
		case <-cl.Done():
			r.timer.Stop()
		case <-r.timer.C:
			return s.leave(r, cl, rec, "The log did not acknowledge in time.")
		case <-s.abandoned:
			r.timer.Stop()
			return s.leave(r, cl, rec, "The relay is shutting down and the log does not acknowledge.")
		}
	}
	return s.settledAs(r, cl, rec)
}

// leave ends a request before the outcome of its claim is certain.
func (s *Server) leave(r *request, cl *claim.Claim, rec *kgo.Record, why string) answer {
	switch {
	case rec == nil:
		if _, ok := s.inSpool(cl.Key()); ok { // The owner has left it there.
			return answer{outcome: Spooled}
		}
	case s.spools(r.source):
		return s.overdue(r, cl, rec)
	case !s.claims.Leave(cl):
		return s.settledAs(r, cl, rec)
	}
	return refuse(LogUnavailable, why)
}

// settledAs answers a request whose claim's outcome is certain.
func (s *Server) settledAs(r *request, cl *claim.Claim, rec *kgo.Record) answer {
	pos, err := cl.Outcome()
	switch {
	case err == nil && rec == nil:
		return answer{outcome: Duplicate, position: pos}
	case err == nil:
		return answer{outcome: Accepted, position: pos}
	case errors.Is(err, errSpooled):
		return answer{outcome: Spooled}
	case rec != nil && s.spools(r.source):
		if _, refusal := s.keep(r, cl.Key(), rec, false); refusal != nil {
			return *refusal
		}
		return answer{outcome: Spooled}
	case errors.Is(err, kgo.ErrMaxBuffered):
		return refuse(Overloaded, "Too many events wait for the log.")
	}
	return refuse(LogUnavailable, "The log did not take the event.")
}

// noteConflict reports a copy whose body differs from the one that is known.
func (s *Server) noteConflict(r *request, known uint32) {
	if r.body == known {
		return
	}
	r.source.conflict.Inc()
	s.throttled.Warn("same event id with another body: is the source's id setting right?",
		"source", r.source.Name, "event_id", r.id)
}

// receiveError answers requests that fasthttp could not read as far as their
// body. It may have forgotten whose they are.
func (s *Server) receiveError(ctx *fasthttp.RequestCtx, err error) {
	src := s.sources.lookup(ctx.Request.Header.RequestURI())
	if src == nil {
		src = s.sources.nobody
	}
	ended := refusalOf(err, readError(ctx.Conn()))
	if c, ok := ctx.Conn().(*conn); !ok || c.heard.Load() { // a connection without a byte is no request
		src.requests[ended.outcome].Inc()
	}
	writeProblem(&ctx.Response, ended)
}

func (s *Server) now() time.Time { return s.clock() }
