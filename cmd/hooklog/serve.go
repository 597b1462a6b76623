package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"hooklog/cmd/internal/config"
)

func serveCommand(w *world) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run everything the configuration names",
		Long: `Serve runs everything the configuration names: the embedded Kafka
(kafka.embedded), the relay (sources) and the consumer groups (consumers), until
Ctrl-C or SIGTERM. It then stops taking events, answers those under way, flushes
and commits, and exits 0.

EXAMPLES
  hooklog serve
  hooklog serve --config hooklog.yaml --log-format json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := w.load(config.Flags{})
			if err != nil {
				return err
			}
			if len(c.Sources) == 0 && len(c.Groups) == 0 && c.Kafka.Embedded == "" {
				return fmt.Errorf("%s names nothing to run: no sources, no consumers, no embedded Kafka", c.File)
			}
			return w.runNode(cmd.Context(), c, parts{
				broker: true, relay: len(c.Sources) > 0, groups: c.Groups, ready: w.showAddresses,
			})
		},
	}
}

func relayCommand(w *world) *cobra.Command {
	return &cobra.Command{
		Use:   "relay",
		Short: "Run the relay alone",
		Long: `Relay runs the sources of the configuration and no consumer group. With
kafka.embedded it runs that broker too.

EXAMPLES
  hooklog relay --config hooklog.yaml`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := w.load(config.Flags{})
			if err != nil {
				return err
			}
			if len(c.Sources) == 0 {
				return fmt.Errorf("%s has no sources", c.File)
			}
			return w.runNode(cmd.Context(), c, parts{broker: true, relay: true, ready: w.showAddresses})
		},
	}
}

func consumeCommand(w *world) *cobra.Command {
	return &cobra.Command{
		Use:   "consume [GROUP...]",
		Short: "Run consumer groups alone",
		Long: `Consume runs the named consumer groups of the configuration, or all of them,
against the brokers it names.

EXAMPLES
  hooklog consume
  hooklog consume orders lake`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := w.load(config.Flags{})
			if err != nil {
				return err
			}
			groups, err := pickGroups(c, args)
			if err != nil {
				return err
			}
			return w.runNode(cmd.Context(), c, parts{groups: groups})
		},
	}
}

// pickGroups returns the groups of those names, or all.
func pickGroups(c *config.Config, names []string) ([]config.Group, error) {
	var known []string
	for _, g := range c.Groups {
		known = append(known, g.Name)
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, usageError{fmt.Errorf("no group %q: %s has %s", name, c.File, strings.Join(known, ", "))}
		}
	}
	if len(known) == 0 {
		return nil, fmt.Errorf("%s has no consumers", c.File)
	}
	if len(names) == 0 {
		return c.Groups, nil
	}
	return slices.DeleteFunc(slices.Clone(c.Groups), func(g config.Group) bool { return !slices.Contains(names, g.Name) }), nil
}

// showAddresses says where the sources are reached.
func (w *world) showAddresses(c *config.Config) { printAddresses(w.stderr, c) }
