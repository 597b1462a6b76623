package follow

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// readFor bounds one round of reading, between two refreshes.
	readFor = time.Second
	// readThrough is how many covered offsets are rather read again than
	// jumped over: two relays' records lie in one another.
	readThrough = 1000
)

// read fetches what is open and takes it into the index. more says that there
// is more to be had at once.
func (f *Follower) read(ctx context.Context) (more bool, err error) {
	wants := f.wants()
	if len(wants) == 0 {
		return false, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	until := time.Now().Add(readFor)
	stretches := make(chan stretch) // no buffer: one stretch is applied while the next is fetched
	var fetching sync.WaitGroup
	for leader, ws := range wants {
		fetching.Go(func() { f.fetch(ctx, leader, ws, until, stretches) })
	}
	go func() { fetching.Wait(); close(stretches) }()
	for s := range stretches {
		if err != nil {
			continue // The fetchers are waited for.
		}
		if err = f.take(&s); err == nil {
			err = f.save(false)
		}
		if err != nil {
			cancel()
		}
	}
	if err != nil {
		return false, err
	}
	return time.Now().After(until), f.readProblems()
}

// wants returns what is open, by leader.
func (f *Follower) wants() map[int32][]want {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make(map[int32][]want)
	for _, t := range f.topics {
		for i, p := range t.partitions {
			if !p.known || p.leader < 0 || p.moved || !p.short.IsZero() {
				continue
			}
			if from, to := p.open(p.before, readThrough); from < to {
				out[p.leader] = append(out[p.leader], want{topic: t, partition: int32(i), epoch: p.leaderEpoch, from: from, to: to})
			} else {
				p.problem = ""
			}
		}
	}
	return out
}

// take applies a stretch to the index and covers it.
func (f *Follower) take(s *stretch) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.topics[s.topic.name] != s.topic {
		return nil // It was made anew meanwhile.
	}
	p := s.topic.partitions[s.partition]
	if s.err != nil {
		f.readFailed(p, s)
		return nil
	}
	p.problem = ""
	facts := s.facts[:0]
	for i := range s.facts {
		if fact := s.facts[i]; !p.has(fact.Offset) {
			fact.Topic = s.topic.ref
			facts = append(facts, fact)
		}
	}
	copies, err := f.opts.Index.Apply(facts, nil)
	if err != nil {
		return err
	}
	f.copies += int64(copies)
	f.foreign += int64(len(facts))
	for _, offset := range s.undecoded {
		if !p.has(offset) {
			f.foreign++
			f.undecoded++
		}
	}
	p.add(s.from, s.to)
	return nil
}

// readProblems returns why partitions cannot be read.
func (f *Follower) readProblems() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var problems []error
	for _, t := range f.topics {
		for _, p := range t.partitions {
			if p.problem != "" {
				problems = append(problems, errors.New(p.problem))
			}
		}
	}
	if err := errors.Join(problems...); err != nil {
		return brokerError{err}
	}
	return nil
}
