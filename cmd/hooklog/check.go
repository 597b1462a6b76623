package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"hooklog/cmd/internal/config"
)

func checkCommand(w *world) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Say everything that is wrong with a configuration",
		Long: `Check reads the configuration and prints every problem as
file:line:column: path: message (hint). It opens no socket and writes nothing.
It exits 0 if the configuration can be used, 1 if not.

EXAMPLES
  hooklog check
  hooklog check --config staging.yaml`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := w.load(config.Flags{})
			if err != nil {
				return err
			}
			fmt.Fprintf(w.stderr, "%s: ok: %d sources, %d groups\n", c.File, len(c.Sources), len(c.Groups))
			printAddresses(w.stdout, c)
			return nil
		},
	}
}

// printAddresses prints what to enter at each provider.
func printAddresses(out io.Writer, c *config.Config) {
	local := false
	for _, s := range c.Sources {
		fmt.Fprintf(out, "%s\t%s\n", s.Name, s.Address)
		local = local || s.URL == ""
	}
	if local {
		fmt.Fprintln(out, "# Providers need a public https address: put a TLS proxy in front and set each source's url.")
	}
}
