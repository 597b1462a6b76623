package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"hooklog/relay/follow"
	"hooklog/relay/index"
)

// VerifyIndex compares the index with the topics: that of a relay that runs, or
// else the one that a relay has left, which is not changed. One call at a time
// is served; others get ErrVerifying. progress may be nil.
func (s *Server) VerifyIndex(ctx context.Context, progress func(follow.Progress)) ([]follow.Comparison, error) {
	if !s.verifying.TryLock() {
		return nil, ErrVerifying
	}
	defer s.verifying.Unlock()
	x := s.index
	if s.phase.Load() != serving {
		var err error
		if x, err = index.OpenReadOnly(s.indexOptions()); err != nil {
			return nil, err
		}
		defer func() { _ = x.Close() }() // Nothing was written.
	}
	return follow.Verify(ctx, s.followOptions(x, nil), progress)
}

// ErrVerifying is returned by VerifyIndex while another call is under way.
var ErrVerifying = errors.New("the index is being verified already")

// RebuildIndex throws the index away, reads it back from the topics and returns
// what it then holds. It is for a server that does not run. progress is called
// about every second, with what keeps it from going on, if anything does; it may
// be nil.
func (s *Server) RebuildIndex(ctx context.Context, progress func(p follow.Progress, problem string)) (index.Stats, error) {
	o := s.indexOptions()
	topics, err := s.existingTopics(ctx) // Without brokers nothing is thrown away.
	if err != nil {
		return index.Stats{}, err
	}
	if err := index.Remove(o); err != nil {
		return index.Stats{}, err
	}
	x, err := index.Open(o)
	if err != nil {
		return index.Stats{}, err
	}
	if len(topics) > 0 {
		err = s.catchUp(ctx, x, topics, progress)
	}
	stats := x.Stats()
	return stats, errors.Join(err, x.Close())
}

func (s *Server) catchUp(ctx context.Context, x *index.Index, topics []string, progress func(follow.Progress, string)) error {
	f, err := follow.New(s.followOptions(x, topics))
	if err != nil {
		return err
	}
	following, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- f.Run(following) }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for shown := time.Now(); !f.CaughtUp() && ctx.Err() == nil; {
		select {
		case err := <-ended:
			return errors.Join(errors.New("following the log ended early"), err)
		case <-tick.C:
		}
		if progress != nil && time.Since(shown) >= time.Second {
			shown = time.Now()
			progress(f.Progress(), f.Problem())
		}
	}
	stop()
	return errors.Join(ctx.Err(), <-ended)
}

// existingTopics returns those of the sources' topics that there are: one that
// is missing has nothing to be read.
func (s *Server) existingTopics(ctx context.Context) ([]string, error) {
	client, err := kgo.NewClient(s.opts.Client...)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	defer client.Close()
	var names []string
	for name := range s.sources.topics() {
		names = append(names, name)
	}
	slices.Sort(names)
	ask, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	found, err := kadm.NewClient(client).ListTopics(ask, names...)
	if err != nil {
		return nil, fmt.Errorf("look for topics: %w", err)
	}
	var out []string
	for _, name := range names {
		switch err := found[name].Err; {
		case err == nil:
			out = append(out, name)
		case !errors.Is(err, kerr.UnknownTopicOrPartition):
			return nil, fmt.Errorf("look for topic %q: %w", name, err)
		}
	}
	return out, nil
}

func (s *Server) indexOptions() index.Options {
	return index.Options{Dir: s.opts.Dir, Window: s.sources.longestWindow(s.opts.Window), Logger: s.log}
}

func (s *Server) followOptions(x *index.Index, topics []string) follow.Options {
	return follow.Options{
		Client: s.opts.Client, Index: x, Topics: topics,
		Window: s.sources.longestWindow(s.opts.Window), WindowOf: s.sources.window, Logger: s.log,
	}
}
