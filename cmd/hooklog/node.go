package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"hooklog/cmd/internal/admin"
	"hooklog/cmd/internal/broker"
	"hooklog/cmd/internal/config"
	"hooklog/consumers"
	"hooklog/relay"
)

// parts are what a process runs of a configuration.
type parts struct {
	broker, relay bool
	// groups are run; nil means none.
	groups []config.Group
	// ready is called once, when all of it is.
	ready func(*config.Config)
}

// node is what one process runs, in the order of the data: broker, relay,
// groups. It starts in that order and stops in it too: nothing more comes in
// before what is there has gone through, and the broker goes last.
type node struct {
	config   *config.Config
	parts    parts
	log      *slog.Logger
	registry *prometheus.Registry
	stdout   io.Writer

	broker *broker.Broker
	relay  *relay.Server
	groups []*consumers.Group
	close  func() error // ends what the groups' routes hold open
	admin  *admin.Server
}

// runNode runs the parts until ctx is done or one of them fails.
func (w *world) runNode(ctx context.Context, c *config.Config, p parts) (err error) {
	log, err := w.logger()
	if err != nil {
		return err
	}
	n := &node{config: c, parts: p, log: log, registry: prometheus.NewRegistry(), stdout: w.stdout}
	n.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	if p.broker && c.Kafka.Embedded != "" {
		n.broker, err = broker.Start(broker.Options{
			Listen: c.Kafka.Embedded, Dir: filepath.Join(c.Data, "kafka"), Logger: log.With("part", "broker"),
		})
		if err != nil {
			return portTaken(err, "kafka.embedded.listen", "--kafka", c.Kafka.Embedded)
		}
		defer func() { err = errors.Join(err, n.broker.Close()) }()
	}
	defer func() {
		if n.close != nil {
			err = errors.Join(err, n.close())
		}
	}()
	if err := n.open(); err != nil {
		return err
	}
	return n.run(ctx)
}

// open makes all parts and takes all ports, so that what cannot start is known
// before anything has begun.
func (n *node) open() error {
	var components []admin.Component
	queries := make(map[string]admin.Query)
	if n.parts.relay {
		o := n.config.RelayOptions()
		o.Registerer = n.registry
		o.Logger = n.log.With("part", "relay")
		var err error
		if n.relay, err = relay.New(o); err != nil {
			return err
		}
		if err := n.relay.Listen(); err != nil {
			return portTaken(err, "listen", "--listen", n.config.Listen)
		}
		components = append(components, relayComponent{n.relay})
		queries[verifyQuery] = n.verifyIndex
	}
	options, closeAll, err := n.config.Open(n.parts.groups, n.stdout, n.log.With("part", "group"))
	n.close = closeAll
	if err != nil {
		return err
	}
	for _, o := range options {
		o.Registerer = n.registry
		group, err := consumers.New(o)
		if err != nil {
			return fmt.Errorf("group %q: %w", o.Group, err)
		}
		n.groups = append(n.groups, group)
		components = append(components, groupComponent{o.Group, group})
	}
	n.admin = admin.New(admin.Options{
		Listen: n.config.Admin, Gatherer: n.registry, Components: components, Queries: queries, Version: version,
		Logger: n.log.With("part", "admin"),
	})
	if err := n.admin.Listen(); err != nil {
		return portTaken(err, "admin", "--admin", n.config.Admin)
	}
	return nil
}

// portTaken makes one line of an address that another program has: which it is
// and which setting to change.
func portTaken(err error, setting, flag, address string) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s: address %s is already in use: stop the program that has it, or change %s in the configuration (%s for hooklog dev)",
			setting, address, setting, flag)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return fmt.Errorf("%s: cannot listen on %s: %w", setting, address, op.Err)
	}
	return err
}

// part is one running part and how it is stopped.
type part struct {
	name string
	stop context.CancelFunc
	done chan struct{}
	err  error
}

// run starts all parts and stops them in the order of the data when ctx is done
// or one has ended by itself.
func (n *node) run(ctx context.Context) error {
	ended := make(chan *part, 2+len(n.groups)) // each part ends once
	start := func(name string, run func(context.Context) error) *part {
		// A part is stopped in its turn, not by ctx.
		partCtx, stop := context.WithCancel(context.Background())
		p := &part{name: name, stop: stop, done: make(chan struct{})}
		go func() {
			p.err = run(partCtx)
			close(p.done)
			ended <- p
		}()
		return p
	}
	adminPart := start("admin", n.admin.Run)
	var stages [][]*part
	if n.relay != nil {
		stages = append(stages, []*part{start("relay", n.relay.Run)})
	}
	var groups []*part
	for i, g := range n.groups {
		groups = append(groups, start("group "+n.parts.groups[i].Name, g.Run))
	}
	stages = append(stages, groups, []*part{adminPart})

	readyCtx, stopWaiting := context.WithCancel(ctx)
	announced := make(chan struct{})
	go func() {
		defer close(announced)
		n.announce(readyCtx)
	}()

	var errs []error
	select {
	case <-ctx.Done():
		n.log.Info("stopping")
	case p := <-ended:
		err := p.err
		if err == nil {
			err = errors.New("ended by itself")
		}
		errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
		p.err = nil
	}
	n.admin.Drain()
	stopWaiting()
	<-announced
	for _, stage := range stages {
		start := time.Now()
		for _, p := range stage {
			p.stop()
		}
		for _, p := range stage {
			<-p.done
			if p.err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", p.name, p.err))
			}
			n.log.Info("stopped", "what", p.name, "took", time.Since(start).Round(time.Millisecond))
		}
	}
	return errors.Join(errs...)
}

// announce says once that the relay takes events.
func (n *node) announce(ctx context.Context) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ended := false; n.relay != nil; {
		if ok, _ := n.relay.Ready(); ok {
			break
		}
		if ended {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			ended = true // It may have become ready since the last tick.
		}
	}
	n.log.Info("ready", "version", version, "admin", n.config.Admin)
	if n.parts.ready != nil {
		n.parts.ready(n.config)
	}
}

// verifyQuery is the name of verifyIndex at the admin listener.
const verifyQuery = "index/verify"

func (n *node) verifyIndex(ctx context.Context) (any, error) {
	if ok, reason := n.relay.Ready(); !ok {
		return nil, fmt.Errorf("%w: %s", admin.ErrBusy, reason)
	}
	found, err := n.relay.VerifyIndex(ctx, nil)
	if errors.Is(err, relay.ErrVerifying) {
		err = fmt.Errorf("%w: %w", admin.ErrBusy, err)
	}
	return found, err
}

// relayComponent shows the relay to the operator.
type relayComponent struct{ s *relay.Server }

func (relayComponent) Name() string            { return "relay" }
func (c relayComponent) Ready() (bool, string) { return c.s.Ready() }
func (c relayComponent) Status() any           { return c.s.Status() }

// groupComponent shows a group. A group is no reason to keep traffic away, so
// it is always ready.
type groupComponent struct {
	name string
	g    *consumers.Group
}

func (c groupComponent) Name() string        { return "group/" + c.name }
func (groupComponent) Ready() (bool, string) { return true, "" }
func (c groupComponent) Status() any         { return c.g.Status() }
