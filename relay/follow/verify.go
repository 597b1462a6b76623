package follow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"hooklog/relay/index"
	"hooklog/schemas"
)

// Comparison is what Verify found out about a topic. An index that is true to
// its topic has Missing and False zero and no Problem.
type Comparison struct {
	Topic string `json:"topic"`
	// Records of ours were compared: those within the window and before the
	// checkpoints.
	Records int64 `json:"records"`
	// Copies are further records of an event, which the index rightly does not
	// point at.
	Copies int64 `json:"copies"`
	// Missing events are in the topic, and the index does not know them: a copy
	// of one would be taken for new.
	Missing int64 `json:"missing"`
	// False facts point where the topic does not hold their event: a copy of
	// one would be answered as a duplicate of nothing.
	False int64 `json:"false"`
	// Removed facts point at records that retention has removed.
	Removed int64 `json:"removed"`
	// Examples name some of what is missing or false.
	Examples []string `json:"examples,omitempty"`
	// Problem says why the topic as a whole cannot be compared.
	Problem string `json:"problem,omitempty"`
}

// OK reports whether the index is true to the topic.
func (c *Comparison) OK() bool { return c.Missing == 0 && c.False == 0 && c.Problem == "" }

const (
	maxExamples = 10
	// stuckAfter is when reading that brings nothing is given up.
	stuckAfter = 30 * time.Second
)

// Verify reads topics from the beginning of the window to the checkpoints and
// compares the index with them. It needs Client and Index of the options, and
// WindowOf if sources have windows of their own; the index may be in use, also
// by a Follower. progress may be nil. It returns an error if the topics cannot
// be read.
func Verify(ctx context.Context, o Options, progress func(Progress)) ([]Comparison, error) {
	o.Window = o.Index.Window()
	f, err := New(o)
	if err != nil {
		return nil, err
	}
	if f.client, err = kgo.NewClient(f.opts.Client...); err != nil {
		return nil, fmt.Errorf("verify index: %w", err)
	}
	defer f.client.Close()
	if progress == nil {
		progress = func(Progress) {}
	}
	v := &verification{follower: f, progress: progress, since: f.opts.Now().Add(-f.opts.Window), began: time.Now()}
	for _, t := range f.opts.Index.Topics() {
		if err := v.open(ctx, t); err != nil {
			return nil, fmt.Errorf("verify index against topic %q: %w", t.Name, err)
		}
	}
	if err := v.read(ctx); err != nil {
		return nil, fmt.Errorf("verify index: %w", err)
	}
	if err := v.checkFacts(); err != nil {
		return nil, fmt.Errorf("verify index: %w", err)
	}
	return v.finish(), nil
}

// verification is one run of Verify.
type verification struct {
	follower *Follower
	progress func(Progress)
	since    time.Time // what is older is not compared
	began    time.Time
	topics   []*compared
	wants    map[int32][]want // what is still to be read, by leader
	total    Progress
}

// compared is one topic.
type compared struct {
	Comparison
	topic      index.Topic
	partitions map[int32]*section
}

// section is the part of a partition that is compared: start is the log's, and
// from <= offset < to is read. Each offset that a fact rightly points at has
// its bit in found.
type section struct {
	start, from, to int64
	found           []uint64
}

func (s *section) mark(offset int64) {
	if o := offset - s.from; o >= 0 && offset < s.to {
		s.found[o/64] |= 1 << (o % 64)
	}
}

// take reports whether an offset is marked and unmarks it: only one fact can be
// right about a place.
func (s *section) take(offset int64) bool {
	o := offset - s.from
	marked := s.found[o/64]&(1<<(o%64)) != 0
	s.found[o/64] &^= 1 << (o % 64)
	return marked
}

// open finds out what is to be read of a topic.
func (v *verification) open(ctx context.Context, t index.Topic) error {
	c := &compared{Comparison: Comparison{Topic: t.Name}, topic: t, partitions: make(map[int32]*section)}
	v.topics = append(v.topics, c)
	marks, err := v.follower.opts.Index.Checkpoints(t.Ref)
	if err != nil {
		return err
	}
	adm := kadm.NewClient(v.follower.client)
	ctx, cancel := context.WithTimeout(ctx, stuckAfter)
	defer cancel()
	topics, err := adm.ListTopics(ctx, t.Name)
	if err != nil {
		return err
	}
	detail := topics[t.Name]
	switch {
	case detail.Err != nil:
		return detail.Err
	case index.TopicID(detail.ID) != t.ID:
		c.Problem = "the topic was made anew: its facts are forgotten when the relay starts"
		return nil
	}
	starts, err := adm.ListStartOffsets(ctx, t.Name)
	if err != nil {
		return err
	}
	ends, err := adm.ListEndOffsets(ctx, t.Name)
	if err != nil {
		return err
	}
	windows, err := adm.ListOffsetsAfterMilli(ctx, v.since.UnixMilli(), t.Name)
	if err != nil {
		return err
	}
	if err := errors.Join(starts.Error(), ends.Error(), windows.Error()); err != nil {
		return err
	}
	if v.wants == nil {
		v.wants = make(map[int32][]want)
	}
	state := &topicState{name: t.Name, id: t.ID, ref: t.Ref}
	for n, mark := range marks {
		start, _ := starts.Lookup(t.Name, n)
		end, _ := ends.Lookup(t.Name, n)
		window, _ := windows.Lookup(t.Name, n)
		if mark.Offset > end.Offset {
			c.Problem = fmt.Sprintf("partition %d ends at %d, before the checkpoint %d: the log has lost records, and the index is read again when the relay starts", n, end.Offset, mark.Offset)
			continue
		}
		s := &section{start: start.Offset, from: max(start.Offset, min(window.Offset, mark.Offset)), to: mark.Offset}
		if s.from >= s.to {
			s.from = s.to
		}
		s.found = make([]uint64, (s.to-s.from+63)/64)
		c.partitions[n] = s
		v.total.Total += s.to - s.from
		if part := detail.Partitions[n]; s.from < s.to {
			v.wants[part.Leader] = append(v.wants[part.Leader], want{
				topic: state, partition: n, epoch: part.LeaderEpoch, from: s.from, to: s.to,
			})
		}
	}
	return nil
}

// read reads all sections and judges each record.
func (v *verification) read(ctx context.Context) error {
	moved := time.Now()
	for len(v.wants) > 0 {
		stretches := make(chan stretch)
		round, cancel := context.WithCancel(ctx)
		var fetching sync.WaitGroup
		for leader, ws := range v.wants {
			fetching.Go(func() { v.follower.fetch(round, leader, slices.Clone(ws), time.Now().Add(readFor), stretches) })
		}
		go func() { fetching.Wait(); close(stretches) }()
		var judged, failed error
		for s := range stretches {
			switch {
			case judged != nil:
			case s.err != nil:
				failed = s.err
			default:
				moved = time.Now()
				if judged = v.judge(&s); judged != nil {
					cancel()
				}
			}
		}
		cancel()
		if judged != nil {
			return judged
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if failed != nil {
			if time.Since(moved) > stuckAfter {
				return fmt.Errorf("nothing could be read for %v: %w", stuckAfter, failed)
			}
			if err := v.findLeaders(ctx); err != nil {
				return err
			}
		}
		v.report()
	}
	return nil
}

// findLeaders asks, after a pause, who leads what is still to be read.
func (v *verification) findLeaders(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(maxRetryPause):
	}
	topics, err := kadm.NewClient(v.follower.client).ListTopics(ctx)
	if err != nil {
		return err
	}
	again := make(map[int32][]want)
	for _, ws := range v.wants {
		for _, w := range ws {
			p := topics[w.topic.name].Partitions[w.partition]
			w.epoch = p.LeaderEpoch
			again[p.Leader] = append(again[p.Leader], w)
		}
	}
	v.wants = again
	return nil
}

// judge compares the records of a stretch and notes that it has been read.
func (v *verification) judge(s *stretch) error {
	i := slices.IndexFunc(v.topics, func(c *compared) bool { return c.topic.Ref == s.topic.ref })
	c := v.topics[i]
	part := c.partitions[s.partition]
	to := min(s.to, part.to)
	for j := range s.facts {
		f := &s.facts[j]
		if f.Offset >= part.to {
			continue
		}
		c.Records++
		window := v.follower.opts.Window
		if f.Window > 0 {
			window = min(window, f.Window)
		}
		f.Topic = c.topic.Ref
		there, err := v.follower.opts.Index.Has(*f)
		if err != nil {
			return err
		}
		if there {
			part.mark(f.Offset)
			continue
		}
		_, known, err := v.follower.opts.Index.Lookup(f.Key, f.Time.Add(-window))
		switch {
		case err != nil:
			return err
		case known:
			c.Copies++
		case f.Time.Before(v.follower.opts.Now().Add(-window)):
			// Dropped with its generation, or about to be.
		default:
			c.Missing++
			c.example("event %s at %d@%d is not known", f.Key, f.Partition, f.Offset)
		}
	}
	v.total.Read += to - s.from
	for leader, ws := range v.wants {
		for j := range ws {
			if ws[j].topic == s.topic && ws[j].partition == s.partition {
				if ws[j].from = to; to >= part.to {
					ws = slices.Delete(ws, j, j+1)
				}
				break
			}
		}
		if v.wants[leader] = ws; len(ws) == 0 {
			delete(v.wants, leader)
		}
	}
	return nil
}

func (v *verification) report() {
	p := v.total
	p.Left = -1
	if p.Read > 0 {
		p.Left = time.Since(v.began).Seconds() * float64(p.Total-p.Read) / float64(p.Read)
	}
	v.progress(p)
}

// checkFacts looks for facts whose place was read and held something else.
func (v *verification) checkFacts() error {
	byRef := make(map[index.TopicRef]*compared, len(v.topics))
	for _, c := range v.topics {
		byRef[c.topic.Ref] = c
	}
	return v.follower.opts.Index.Facts(func(f index.Fact) error {
		c := byRef[f.Topic]
		if c == nil || c.Problem != "" {
			return nil
		}
		s := c.partitions[f.Partition]
		switch {
		case s == nil || f.Offset >= s.to: // Newer than what was read.
		case f.Offset < s.start:
			c.Removed++
		case f.Offset >= s.from && !s.take(f.Offset):
			c.False++
			c.example("event %s, or another that is said to be there too, is not at %d@%d", f.Key, f.Partition, f.Offset)
		}
		return nil
	})
}

// finish returns the comparisons, by topic.
func (v *verification) finish() []Comparison {
	out := make([]Comparison, 0, len(v.topics))
	now := v.follower.opts.Index.Topics()
	for _, c := range v.topics {
		if !slices.Contains(now, c.topic) {
			c.Comparison = Comparison{Topic: c.Topic, Problem: "the topic was made anew, or its log was cut off, while it was compared: verify again"}
		}
		out = append(out, c.Comparison)
	}
	slices.SortFunc(out, func(a, b Comparison) int { return cmp.Compare(a.Topic, b.Topic) })
	return out
}

// example notes one of what is wrong. An event is named by its key, which is
// all that a fact has; what can be read of a record is in the topic.
func (c *Comparison) example(format string, key schemas.EventKey, partition int32, offset int64) {
	if len(c.Examples) < maxExamples {
		c.Examples = append(c.Examples, fmt.Sprintf(format, key, partition, offset))
	}
}
