// Command hooklog turns webhooks into a Kafka log that can be consumed and
// replayed.
//
// It is the only place that knows files, flags, signals and exit codes: 0 ok,
// 1 failed, 2 wrong usage. Data go to standard output, words to standard error.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set at build time.
var version = "dev"

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is main with its surroundings passed in. The first signal ends the
// command in order, the second one at once.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-signals
		cancel()
		<-signals
		fmt.Fprintln(stderr, "hooklog: stopped at once by a second signal")
		os.Exit(exitFailed)
	}()

	root := rootCommand(&world{stdin: stdin, stdout: stdout, stderr: stderr})
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var silent silentError
	if !errors.As(err, &silent) {
		fmt.Fprintf(stderr, "hooklog: %v\n", err)
	}
	if errors.As(err, new(usageError)) {
		return exitUsage
	}
	return exitFailed
}

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError is a command line that makes no sense.
type usageError struct{ error }

// silentError is a failure that has been told already, line by line.
type silentError struct{ error }

// world is what a command sees of its surroundings.
type world struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	configFile     string
	logLevel       string
	logFormat      string
}

func rootCommand(w *world) *cobra.Command {
	root := &cobra.Command{
		Use:   "hooklog",
		Short: "Turn webhooks into a Kafka log",
		Long: `hooklog receives signed webhooks and turns them into a Kafka log that data
teams can trust, consume and replay.

Every command takes --config; without it $HOOKLOG_CONFIG is used, else
./hooklog.yaml, else the configuration of "hooklog dev".

EXAMPLES
  hooklog dev                                   try it: broker, relay and four groups
  hooklog dev --print-config > hooklog.yaml     own it
  hooklog check && hooklog serve                run it`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q (see hooklog --help)", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(w.stdin)
	root.SetOut(w.stdout)
	root.SetErr(w.stderr)
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(&cobra.Command{Hidden: true})
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath())}
	})
	flags := root.PersistentFlags()
	flags.StringVarP(&w.configFile, "config", "c", "", "configuration `file`")
	flags.StringVar(&w.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&w.logFormat, "log-format", "text", "text or json")
	root.AddCommand(
		devCommand(w),
		serveCommand(w),
		relayCommand(w),
		consumeCommand(w),
		checkCommand(w),
		sendCommand(w),
		tailCommand(w),
		indexCommand(w),
		versionCommand(w),
	)
	return root
}

// noArgs refuses arguments as wrong usage.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no argument, got %q (see %s --help)", cmd.CommandPath(), args[0], cmd.CommandPath())}
	}
	return nil
}
