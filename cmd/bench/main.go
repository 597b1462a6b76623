// Command bench measures the relay against the bare pipeline: what fasthttp,
// an HMAC and a Kafka producer cost without anything that hooklog adds.
//
// All servers run at once, each a process of its own, and get the same load in
// turns (A, B, A, B, ...), so that what else the machine does touches all of
// them. Each turn gives a rate, latencies and the processor time per event of
// that server; turns are compared pair by pair. Everything is on loopback, is
// bounded, and is gone when the bench ends.
//
// "bench index" measures instead what remembering costs, by how many IDs are
// known; see package curve.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"hooklog/cmd/bench/bare"
	"hooklog/cmd/bench/load"
)

// bareCommand makes this program the bare server instead.
const bareCommand = "bare"

// indexCommand measures the index.
const indexCommand = "index"

type options struct {
	servers     []string
	brokers     string
	hooklog     string
	connections int
	bodySize    int
	rounds      int
	duration    time.Duration
	warmUp      time.Duration
	json        bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	command, args := "", os.Args[1:]
	if len(args) > 0 && (args[0] == bareCommand || args[0] == indexCommand) {
		command, args = args[0], args[1:]
	}
	switch command {
	case bareCommand:
		err = runBare(ctx, args)
	case indexCommand:
		err = runIndex(ctx, args)
	default:
		err = run(ctx, args)
	}
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func runBare(ctx context.Context, args []string) error {
	opts := bare.Options{Secret: secret, Partitions: partitions}
	fs := flag.NewFlagSet(bareCommand, flag.ContinueOnError)
	fs.StringVar(&opts.Listen, "listen", "", "address")
	fs.StringVar(&opts.Topic, "topic", "", "topic, made if missing")
	fs.DurationVar(&opts.Linger, "linger", 0, "wait for more records to share a batch")
	brokers := fs.String("brokers", "", "comma-separated")
	if err := fs.Parse(args); err != nil {
		return err
	}
	opts.Brokers = strings.Split(*brokers, ",")
	return bare.Run(ctx, opts)
}

var errUsage = errors.New("usage")

func parse(args []string) (options, error) {
	var o options
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	servers := fs.String("servers", "relay,bare", "what to compare, each with the last: relay, bare, bare:LINGER")
	fs.StringVar(&o.brokers, "brokers", os.Getenv("KAFKA_BROKERS"), "of an Apache Kafka; without, the embedded broker in a process of its own")
	fs.StringVar(&o.hooklog, "hooklog", "bin/hooklog", "the binary whose relay is measured")
	fs.IntVar(&o.connections, "connections", 128, "keep-alive connections, each with one request at a time")
	fs.IntVar(&o.bodySize, "body", 2048, "size of a body in bytes")
	fs.IntVar(&o.rounds, "rounds", 5, "turns of each server")
	fs.DurationVar(&o.duration, "duration", 5*time.Second, "length of a turn")
	fs.DurationVar(&o.warmUp, "warm-up", 3*time.Second, "unmeasured load on each server before the first turn")
	fs.BoolVar(&o.json, "json", false, "print one JSON object instead of the table")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, errUsage // The flag package has said what is wrong.
	}
	o.servers = strings.Split(*servers, ",")
	switch {
	case fs.NArg() > 0:
		return o, fmt.Errorf("%w: unexpected argument %q", errUsage, fs.Arg(0))
	case o.connections < 1 || o.connections > 10_000:
		return o, fmt.Errorf("%w: --connections is %d, want 1 to 10000", errUsage, o.connections)
	case o.rounds < 1 || o.rounds > 100:
		return o, fmt.Errorf("%w: --rounds is %d, want 1 to 100", errUsage, o.rounds)
	case o.bodySize < 0 || o.bodySize > 1<<20:
		return o, fmt.Errorf("%w: --body is %d, want at most 1 MiB", errUsage, o.bodySize)
	case o.duration < time.Second/2 || o.duration > time.Minute || o.warmUp < time.Second/2 || o.warmUp > time.Minute:
		return o, fmt.Errorf("%w: --duration and --warm-up are 500ms to 1m", errUsage)
	}
	return o, nil
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	b := &bed{}
	if b.hooklog, err = filepath.Abs(o.hooklog); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "hooklog-bench-"); err != nil {
		return err
	}
	defer b.close()
	if err := b.findBrokers(ctx, o.brokers); err != nil {
		return err
	}
	var servers []*server
	for _, kind := range o.servers {
		s, err := b.startServer(ctx, kind)
		if err != nil {
			return err
		}
		servers = append(servers, s)
	}
	report, err := compare(ctx, o, servers)
	if err != nil {
		return err
	}
	report.Broker = b.what
	if o.json {
		return report.writeJSON(os.Stdout)
	}
	return report.writeTable(os.Stdout)
}

// compare puts load on the servers in turns.
func compare(ctx context.Context, o options, servers []*server) (*report, error) {
	r := newReport(o)
	rates := make([]float64, len(servers)) // the highest seen, to sign enough
	// Nobody knows yet how fast a server is: 40,000 a second is more than two
	// cores give with a broker beside it.
	for i := range rates {
		rates[i] = 40_000
	}
	for round := range o.rounds + 1 {
		for i, s := range servers {
			duration := o.duration
			if round == 0 {
				duration = o.warmUp
			}
			batch, err := load.Sign(secret, int(rates[i]*duration.Seconds()*1.5)+o.connections, o.bodySize)
			if err != nil {
				return nil, err
			}
			before := s.cpu()
			result, err := load.Run(ctx, load.Options{
				Address: s.address, Path: loadPath, Connections: o.connections, Timeout: 10 * time.Second,
			}, batch, duration)
			if err != nil {
				return nil, fmt.Errorf("load on %s: %w", s.name, err)
			}
			used := s.cpu() - before
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if result.Accepted == 0 {
				return nil, fmt.Errorf("%s accepted nothing: statuses %v, last error: %w; its output ends:\n%s", s.name, result.Statuses, result.LastError, tail(s.log))
			}
			rates[i] = max(rates[i], result.Rate())
			if round > 0 {
				t := r.add(i, result, used)
				fmt.Fprintf(os.Stderr, "bench: turn %d of %d, %s: %.0f events/s\n", round, o.rounds, s.name, t.Rate)
			}
		}
	}
	return r, nil
}
