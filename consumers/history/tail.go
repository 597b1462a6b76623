package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"hooklog/consumers"
	"hooklog/schemas"
)

// DefaultLast is how many events Tail shows if nothing is said.
const DefaultLast = 10

// All is TailOptions.Last for every event that the topic still has.
const All = math.MaxInt

// TailOptions say what Tail reads.
type TailOptions struct {
	// Client says how to reach the brokers: seeds, TLS, SASL.
	Client []kgo.Opt
	Topic  string
	// Last is how many of the newest events that match come first, of the
	// whole topic; zero means 10, a negative number none.
	Last int
	// Follow goes on with events as they arrive, until the context ends.
	Follow bool
	// Source and Type are globs, as in consumers.Route; empty means all.
	Source, Type string
	// Skipped is told of each record that is no event; nil means that nobody
	// wants to know.
	Skipped func(schemas.Position, error)
}

// Tail passes the last events of a topic to f, in order of the time they were
// received, then, if it follows, new ones as they arrive. It ends with f's
// first error; when the context ends it returns nil if it follows, else the
// context's error. A topic that does not exist is ErrNoTopic. Events may be
// kept. It holds about a fetch of each partition, and of the last events, if
// not All, their positions.
func Tail(ctx context.Context, o TailOptions, f func(schemas.Event) error) error {
	err := tail(ctx, o, f)
	if o.Follow && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

func tail(ctx context.Context, o TailOptions, f func(schemas.Event) error) error {
	if o.Last == 0 {
		o.Last = DefaultLast
	}
	client, err := kgo.NewClient(o.Client...)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	defer client.Close()
	spans, err := bounds(ctx, kadm.NewClient(client), o.Topic)
	if err != nil {
		return err
	}
	if err := o.last(ctx, spans, f); err != nil {
		return err
	}
	if !o.Follow {
		return nil
	}
	return o.follow(ctx, spans, f)
}

// last passes the last events of the spans.
func (o *TailOptions) last(ctx context.Context, spans map[int32]span, f func(schemas.Event) error) error {
	switch {
	case o.Last < 0:
		return nil
	case o.Last == All:
		return merge(ctx, o.Client, o.Topic, spans, func(r *kgo.Record) error { return o.pass(r, f) })
	}
	// First only positions, then the events: they may be too large to hold.
	found, err := o.locate(ctx, spans)
	if err != nil || len(found) == 0 {
		return err
	}
	chosen := make(map[int32]map[int64]bool)
	narrow := make(map[int32]span)
	for _, c := range found {
		if chosen[c.partition] == nil {
			chosen[c.partition] = make(map[int64]bool)
			narrow[c.partition] = span{c.offset, c.offset + 1}
		}
		chosen[c.partition][c.offset] = true
		s := narrow[c.partition]
		narrow[c.partition] = span{min(s.from, c.offset), max(s.to, c.offset+1)}
	}
	return merge(ctx, o.Client, o.Topic, narrow, func(r *kgo.Record) error {
		if chosen[r.Partition][r.Offset] {
			return o.pass(r, f)
		}
		if _, err := schemas.Decode(r); err != nil && o.Skipped != nil {
			o.Skipped(schemas.Position{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}, err)
		}
		return nil
	})
}

// candidate is an event's place in time and log.
type candidate struct {
	at        time.Time
	partition int32
	offset    int64
}

// locate finds the last matching events, reading each partition backwards in
// ranges that grow until it has enough.
func (o *TailOptions) locate(ctx context.Context, spans map[int32]span) ([]candidate, error) {
	found := make(map[int32][]candidate, len(spans))
	left := maps.Clone(spans) // what was not read, to moves down
	for width := int64(max(o.Last, 64)); ; width *= 4 {
		step := make(map[int32]span)
		for p, s := range left {
			if s.from < s.to && len(found[p]) < o.Last {
				step[p] = span{max(s.from, s.to-width), s.to}
				left[p] = span{s.from, step[p].from}
			}
		}
		if len(step) == 0 {
			break
		}
		here := make(map[int32][]candidate)
		err := scan(ctx, o.Client, o.Topic, step, func(r *kgo.Record) error {
			if ev, err := schemas.Decode(r); err != nil || !o.matches(&ev) {
				return nil
			}
			here[r.Partition] = append(here[r.Partition], candidate{r.Timestamp, r.Partition, r.Offset})
			return nil
		})
		if err != nil {
			return nil, err
		}
		for p, c := range here {
			all := append(c, found[p]...)
			found[p] = all[max(0, len(all)-o.Last):]
		}
	}
	all := slices.Concat(slices.Collect(maps.Values(found))...)
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.partition, b.partition), cmp.Compare(a.offset, b.offset))
	})
	return all[max(0, len(all)-o.Last):], nil
}

// follow passes what comes after the spans, as it arrives.
func (o *TailOptions) follow(ctx context.Context, spans map[int32]span, f func(schemas.Event) error) error {
	open := make(map[int32]span, len(spans))
	for p, s := range spans {
		open[p] = span{s.to, forever}
	}
	r, err := newReader(o.Client, o.Topic, open)
	if err != nil {
		return err
	}
	defer r.close()
	looked := time.Now()
	for {
		if err := r.poll(ctx, func(rec *kgo.Record) error { return o.pass(rec, f) }); err != nil {
			return err
		}
		if time.Since(looked) > partitionsWait {
			looked = time.Now()
			// Brokers that are away now are no reason to end; polling says so.
			if err := r.addPartitions(ctx); errors.Is(err, ErrNoTopic) {
				return err
			}
		}
	}
}

// addPartitions begins with partitions that the topic has got meanwhile.
func (r *reader) addPartitions(ctx context.Context) error {
	spans, err := bounds(ctx, r.admin, r.topic)
	if err != nil {
		return err
	}
	added := make(map[int32]kgo.Offset)
	for p, s := range spans {
		if _, ok := r.left[p]; !ok {
			r.left[p] = span{s.from, forever}
			added[p] = kgo.NewOffset().At(s.from)
		}
	}
	if len(added) > 0 {
		r.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{r.topic: added})
	}
	return nil
}

// pass decodes a record and passes the event if it matches.
func (o *TailOptions) pass(r *kgo.Record, f func(schemas.Event) error) error {
	ev, err := schemas.Decode(r)
	if err != nil {
		if o.Skipped != nil {
			o.Skipped(ev.Position, err)
		}
		return nil
	}
	if !o.matches(&ev) {
		return nil
	}
	return f(ev)
}

func (o *TailOptions) matches(ev *schemas.Event) bool {
	return (o.Source == "" || consumers.MatchGlob(o.Source, string(ev.Source))) &&
		(o.Type == "" || consumers.MatchGlob(o.Type, string(ev.Type)))
}
