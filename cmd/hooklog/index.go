package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"hooklog/cmd/internal/broker"
	"hooklog/cmd/internal/config"
	"hooklog/relay"
	"hooklog/relay/follow"
	"hooklog/relay/index"
)

func indexCommand(w *world) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "index",
		Short: "Look at the memory of event IDs, compare it with the log, make it anew",
		Long: `The index remembers which events the log holds, so that a copy is answered
"duplicate" and not written again. It is a memory of the log and can be thrown
away at any time: the next start reads it back.

EXAMPLES
  hooklog index status
  hooklog index verify
  hooklog index rebuild`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(indexStatusCommand(w), indexVerifyCommand(w), indexRebuildCommand(w))
	return cmd
}

// indexState is what "index status" shows, one JSON object.
type indexState struct {
	Dir string `json:"dir"`
	// State is "in use", "closed", "unusable" or "none".
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"` // why it is unusable
	index.Stats
	CaughtUp *bool `json:"caught_up,omitempty"` // in use: whether it holds all of the log
	// Progress is that of catching up.
	Progress   *follow.Progress        `json:"progress,omitempty"`
	Partitions []follow.PartitionStats `json:"partitions"`
}

func indexStatusCommand(w *world) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show size, window and the checkpoint of each partition",
		Long: `Status shows the index: of a running relay as its admin listener has it, else
as it lies on the disk, without changing it. It exits 1 if the index cannot be
used; the next start then makes it anew.

EXAMPLES
  hooklog index status
  hooklog index status --format json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, c, err := w.loadFormatted(format)
			if err != nil {
				return err
			}
			s, err := w.indexState(cmd.Context(), c)
			if err != nil {
				return err
			}
			if asJSON {
				err = json.NewEncoder(w.stdout).Encode(s)
			} else {
				err = s.print(w.stdout)
			}
			if err == nil && s.Reason != "" {
				err = silentError{errors.New(s.Reason)}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&format, "format", "pretty", "pretty or json")
	return cmd
}

// loadFormatted loads the configuration for a command that prints either way.
func (w *world) loadFormatted(format string) (asJSON bool, c *config.Config, err error) {
	if format != "json" && format != "pretty" {
		return false, nil, usageError{fmt.Errorf("--format %q is neither pretty nor json", format)}
	}
	c, err = w.load(config.Flags{})
	return format == "json", c, err
}

// indexState finds out about the index of a configuration.
func (w *world) indexState(ctx context.Context, c *config.Config) (*indexState, error) {
	o := index.Options{Dir: c.RelayOptions().Dir}
	s := &indexState{Dir: o.Dir, State: "closed", Partitions: []follow.PartitionStats{}}
	x, err := index.OpenReadOnly(o)
	switch {
	case errors.Is(err, index.ErrLocked):
		s.State = "in use"
		return s, s.ask(ctx, c)
	case errors.Is(err, fs.ErrNotExist):
		s.State = "none"
		return s, nil
	case index.Unusable(err):
		s.State, s.Reason = "unusable", err.Error()
		return s, nil
	case err != nil:
		return nil, err
	}
	s.Stats = x.Stats()
	for _, t := range x.Topics() {
		marks, marksErr := x.Checkpoints(t.Ref)
		err = errors.Join(err, marksErr)
		for n := range int32(len(marks)) {
			s.Partitions = append(s.Partitions, follow.PartitionStats{
				Topic: t.Name, Partition: n, Checkpoint: marks[n].Offset, Covered: marks[n].Offset, End: -1,
			})
		}
	}
	return s, errors.Join(err, x.Close())
}

// ask takes over what the running relay says.
func (s *indexState) ask(ctx context.Context, c *config.Config) error {
	var answer struct {
		Components struct {
			Relay *relay.Status `json:"relay"`
		} `json:"components"`
	}
	if err := askAdmin(ctx, c.Admin, "status", &answer); err != nil {
		return fmt.Errorf("the index is in use: %w", err)
	}
	r := answer.Components.Relay
	if r == nil {
		return fmt.Errorf("the index is in use, but the process at admin %s runs no relay", c.Admin)
	}
	s.Stats, s.CaughtUp, s.Progress = r.Index, &r.Follow.CaughtUp, &r.Follow.Progress
	s.Partitions = append(s.Partitions, r.Follow.Partitions...)
	return nil
}

func (s *indexState) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "index\t%s\n", s.Dir)
	switch {
	case s.State == "none":
		fmt.Fprintf(w, "state\tnone: it is read from the log at the next start\n")
		return w.Flush()
	case s.Reason != "":
		fmt.Fprintf(w, "state\tunusable: it is made anew from the log at the next start\nreason\t%s\n", s.Reason)
		return w.Flush()
	case s.CaughtUp != nil && !*s.CaughtUp:
		fmt.Fprintf(w, "state\tin use, catching up with the log: %v\n", s.Progress)
	case s.CaughtUp != nil:
		fmt.Fprintf(w, "state\tin use, caught up with the log\n")
	default:
		fmt.Fprintf(w, "state\tclosed\n")
	}
	fmt.Fprintf(w, "window\t%v\nids\t%d in %d generations\n", time.Duration(s.WindowSeconds*float64(time.Second)), s.IDs, s.Generations)
	fmt.Fprintf(w, "filters\t%.1f MB of memory\nstore\t%.1f MB of disk\n", float64(s.FilterBytes)/1e6, float64(s.DiskBytes)/1e6)
	if err := w.Flush(); err != nil || len(s.Partitions) == 0 {
		return err
	}
	fmt.Fprintln(out)
	fmt.Fprint(w, "topic\tpartition\tcheckpoint\tcovered\tend\n")
	number := func(n int64) string {
		if n < 0 {
			return "-"
		}
		return fmt.Sprint(n)
	}
	for _, p := range s.Partitions {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", p.Topic, p.Partition, number(p.Checkpoint), number(p.Covered), number(p.End))
	}
	return w.Flush()
}

func indexVerifyCommand(w *world) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Compare the index with the log",
		Long: `Verify reads the topics from the beginning of the window to the checkpoints and
compares the index with them: whether it knows each event, and whether each of
its facts is true. A running relay does it itself and goes on serving. It exits
1 if anything is missing or false.

EXAMPLES
  hooklog index verify
  hooklog index verify --format json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, c, err := w.loadFormatted(format)
			if err != nil {
				return err
			}
			found, err := w.verifyIndex(cmd.Context(), c)
			if err != nil {
				return err
			}
			return printComparisons(w.stdout, found, asJSON)
		},
	}
	cmd.Flags().StringVar(&format, "format", "pretty", "pretty or json")
	return cmd
}

func printComparisons(out io.Writer, found []follow.Comparison, asJSON bool) error {
	wrong := 0
	for i := range found {
		c := &found[i]
		if !c.OK() {
			wrong++
		}
		if asJSON {
			if err := json.NewEncoder(out).Encode(c); err != nil {
				return err
			}
			continue
		}
		verdict := "true to the log"
		switch {
		case c.Problem != "":
			verdict = c.Problem
		case !c.OK():
			verdict = "NOT true to the log: hooklog index rebuild makes it anew"
		}
		fmt.Fprintf(out, "%s: %s\n", c.Topic, verdict)
		fmt.Fprintf(out, "  %d records compared, %d of them copies; %d missing, %d false, %d whose records were removed\n",
			c.Records, c.Copies, c.Missing, c.False, c.Removed)
		for _, e := range c.Examples {
			fmt.Fprintf(out, "  %s\n", e)
		}
	}
	if wrong > 0 {
		return silentError{fmt.Errorf("%d topics differ", wrong)}
	}
	return nil
}

// verifyIndex lets the running relay compare, or compares what one has left.
func (w *world) verifyIndex(ctx context.Context, c *config.Config) (found []follow.Comparison, err error) {
	err = w.beside(c, func(s *relay.Server) error {
		found, err = s.VerifyIndex(ctx, w.showProgress())
		return err
	})
	switch {
	case errors.Is(err, index.ErrLocked):
		return found, askAdmin(ctx, c.Admin, verifyQuery, &found)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no index in %s yet: it is read from the log at the next start", c.RelayOptions().Dir)
	case index.Unusable(err):
		return nil, fmt.Errorf("%w (it is made anew from the log at the next start)", err)
	}
	return found, err
}

// showProgress returns a function that says now and then how far something has
// come.
func (w *world) showProgress() func(follow.Progress) {
	shown := time.Now()
	return func(p follow.Progress) {
		if time.Since(shown) >= time.Second {
			shown = time.Now()
			fmt.Fprintf(w.stderr, "hooklog: %v\n", p)
		}
	}
}

func indexRebuildCommand(w *world) *cobra.Command {
	return &cobra.Command{
		Use:   "rebuild",
		Short: "Throw the index away and read it back from the log",
		Long: `Rebuild throws the index away and reads it back from the topics: all events
within the window. No relay may run with it. Nothing is lost if it is stopped:
the next start of the relay reads what is missing.

EXAMPLES
  hooklog index rebuild`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := w.load(config.Flags{})
			if err != nil {
				return err
			}
			began := time.Now()
			var stats index.Stats
			err = w.beside(c, func(s *relay.Server) error {
				stats, err = s.RebuildIndex(cmd.Context(), func(p follow.Progress, problem string) {
					if problem != "" {
						fmt.Fprintf(w.stderr, "hooklog: %s\n", problem)
						return
					}
					fmt.Fprintf(w.stderr, "hooklog: %v\n", p)
				})
				return err
			})
			if errors.Is(err, index.ErrLocked) {
				return errors.New("the index is in use: stop the relay first (a start reads by itself whatever is missing)")
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(w.stdout, "%d ids in %v\n", stats.IDs, time.Since(began).Round(10*time.Millisecond))
			return nil
		},
	}
}

// beside calls f with a relay that does not run, and with the embedded broker
// running if the configuration has one. An index that is in use is
// index.ErrLocked before anything has begun.
func (w *world) beside(c *config.Config, f func(*relay.Server) error) (err error) {
	log, err := w.logger()
	if err != nil {
		return err
	}
	o := c.RelayOptions()
	if err := index.Free(index.Options{Dir: o.Dir}); err != nil {
		return err
	}
	if c.Kafka.Embedded != "" {
		b, err := broker.Start(broker.Options{
			Listen: c.Kafka.Embedded, Dir: filepath.Join(c.Data, "kafka"), Logger: log.With("part", "broker"),
		})
		if err != nil {
			return portTaken(err, "kafka.embedded.listen", "--kafka", c.Kafka.Embedded)
		}
		defer func() { err = errors.Join(err, b.Close()) }()
	}
	o.Logger = log.With("part", "relay")
	s, err := relay.New(o)
	if err != nil {
		return err
	}
	return f(s)
}

// askAdmin asks the admin listener of a running process.
func askAdmin(ctx context.Context, addr, path string, answer any) error {
	if host, port, err := net.SplitHostPort(addr); err == nil {
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			addr = net.JoinHostPort("127.0.0.1", port)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/api/v1/"+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("its process is not reached at admin %s: %w", addr, errors.Unwrap(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		var refusal struct{ Error string }
		_ = json.NewDecoder(resp.Body).Decode(&refusal)
		return fmt.Errorf("admin %s answers %s: %s", addr, resp.Status, refusal.Error)
	}
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return fmt.Errorf("admin %s: %w", addr, err)
	}
	return nil
}
