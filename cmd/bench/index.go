package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"

	"hooklog/cmd/bench/curve"
)

func runIndex(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet(indexCommand, flag.ContinueOnError)
	ids := fs.String("ids", "1M,10M", "sizes of the index, comma-separated; 50M takes 3 GiB of disk and some minutes")
	events := fs.Int("events", 8_000_000, "events that are claimed and settled at each size: several merges of the store")
	dir := fs.String("dir", os.TempDir(), "where the indexes are made, and removed")
	asJSON := fs.Bool("json", false, "print a JSON object a line instead of the table")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return errUsage
	}
	o := curve.Options{Dir: *dir, Events: *events, Lookups: 500_000, Progress: func(text string) { fmt.Fprintln(os.Stderr, "bench:", text) }}
	for _, text := range strings.Split(*ids, ",") {
		digits, million := strings.CutSuffix(text, "M")
		n, err := strconv.Atoi(digits)
		if million {
			n *= 1_000_000
		}
		if err != nil || n < 1 || n > 200_000_000 {
			return fmt.Errorf("%w: --ids has %q, want numbers up to 200M", errUsage, text)
		}
		o.IDs = append(o.IDs, n)
	}
	if *events < 1000 || *events > 100_000_000 {
		return fmt.Errorf("%w: --events is %d, want 1000 to 100000000", errUsage, *events)
	}
	points, err := curve.Run(ctx, o)
	if err != nil {
		return err
	}
	if *asJSON {
		out := json.NewEncoder(os.Stdout)
		for _, p := range points {
			if err := out.Encode(p); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "IDs\tCPU us/event\tnew ns\tknown ns\tfilters MB\theap MB\tdisk MB\topen s\topen after kill s\t")
	for _, p := range points {
		fmt.Fprintf(w, "%d\t%.2f\t%.0f\t%.0f\t%.1f\t%.1f\t%.0f\t%.2f\t%.2f\t\n", p.IDs, p.EventMicros, p.NewNanos, p.KnownNanos,
			float64(p.FilterBytes)/1e6, float64(p.HeapBytes)/1e6, float64(p.DiskBytes)/1e6, p.Open, p.OpenKilled)
	}
	return w.Flush()
}
