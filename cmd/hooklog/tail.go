package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"hooklog/cmd/internal/config"
	"hooklog/consumers/history"
	"hooklog/consumers/sink/print"
	"hooklog/schemas"
)

func tailCommand(w *world) *cobra.Command {
	var o history.TailOptions
	var format string
	var last int
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Show the last events of the log, and follow it",
		Long: `Tail prints the newest events of the topic in the order they were received. It
reads the topic by itself: no group is involved, none is moved.

EXAMPLES
  hooklog tail
  hooklog tail -f --type 'payment.*'
  hooklog tail -n 100 --source stripe --format json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if last < 0 {
				return usageError{fmt.Errorf("-n %d: want how many events, 0 for none", last)}
			}
			f, err := print.ParseFormat(format)
			if err != nil {
				return usageError{fmt.Errorf("--format: %w", err)}
			}
			c, err := w.load(config.Flags{})
			if err != nil {
				return err
			}
			o.Client = c.Kafka.Client
			if o.Topic == "" {
				o.Topic = c.Kafka.Topic
			}
			if o.Last = last; last == 0 {
				o.Last = -1
			}
			o.Skipped = func(p schemas.Position, err error) {
				fmt.Fprintf(w.stderr, "hooklog: skipped %s: %v\n", p, err)
			}
			var line []byte
			return history.Tail(cmd.Context(), o, func(e schemas.Event) error {
				var err error
				if line, err = f.Append(line[:0], &e); err != nil {
					return err
				}
				_, err = w.stdout.Write(line)
				return err
			})
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&o.Follow, "follow", "f", false, "go on with events as they arrive, until Ctrl-C")
	flags.IntVarP(&last, "lines", "n", history.DefaultLast, "how many of the newest events to begin with")
	flags.StringVar(&o.Source, "source", "", "only sources that match this `glob`")
	flags.StringVar(&o.Type, "type", "", "only event types that match this `glob`, such as 'payment.*'")
	flags.StringVar(&o.Topic, "topic", "", "topic to read (default kafka.topic)")
	flags.StringVar(&format, "format", "pretty", "pretty, json or body")
	return cmd
}
