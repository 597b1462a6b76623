package main

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSpreadOf(t *testing.T) {
	f := func(want *spread, all ...float64) {
		t.Helper()
		if diff := cmp.Diff(want, spreadOf(all)); diff != "" {
			t.Errorf("spread of %v (-want +got):\n%s", all, diff)
		}
	}
	f(nil)
	f(&spread{2, 2, 2}, 2)
	f(&spread{1, 1.5, 2}, 2, 1)
	f(&spread{1, 3, 9}, 9, 1, 3)
}

func TestRatiosCompareTurnByTurn(t *testing.T) {
	r := newReport(options{servers: []string{"relay", "bare"}})
	r.Servers[0].Turns = []turn{{Rate: 50, CPU: 30}, {Rate: 90, CPU: 30}}
	r.Servers[1].Turns = []turn{{Rate: 100, CPU: 20}, {Rate: 100, CPU: 10}}
	r.ratios()
	if diff := cmp.Diff(&spread{0.5, 0.7, 0.9}, r.Servers[0].Rate); diff != "" {
		t.Errorf("rate ratio (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&spread{1.5, 2.25, 3}, r.Servers[0].CPU); diff != "" {
		t.Errorf("CPU ratio (-want +got):\n%s", diff)
	}
	if r.Servers[1].Rate != nil {
		t.Errorf("the last server is compared with itself: %v", r.Servers[1].Rate)
	}
}

func TestParseRefuses(t *testing.T) {
	f := func(args ...string) {
		t.Helper()
		if _, err := parse(args); err == nil {
			t.Errorf("parse %q: no error", args)
		}
	}
	f("--connections", "0")
	f("--rounds", "1000")
	f("--duration", "1h")
	f("--body", "-1")
	f("more")
}

// The processor time of another process is what the bench is for.
func TestProcessCPU(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("no /proc here")
	}
	self := &process{cmd: &exec.Cmd{Process: &os.Process{Pid: os.Getpid()}}}
	before := self.cpu()
	for begin := time.Now(); time.Since(begin) < 100*time.Millisecond; {
	}
	if used := self.cpu() - before; used < 20*time.Millisecond || used > 5*time.Second {
		t.Errorf("100 ms of work on %d used %s", os.Getpid(), used)
	}
}
