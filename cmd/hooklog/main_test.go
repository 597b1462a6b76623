package main_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	main "hooklog/cmd/hooklog"
)

// TestMain lets the test binary be hooklog: under that name it runs the
// command, in scripts and as a process of its own that can be killed.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"hooklog": main.Main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"ready":     ready,
			"httpget":   httpGet,
			"metric":    metric,
			"waitfile":  waitFile,
			"waitlines": waitLines,
			"expand":    expand,
		},
		Setup: func(e *testscript.Env) error {
			for _, name := range []string{"RELAY", "ADMIN", "KAFKA"} {
				e.Setenv(name, freeAddress(t))
			}
			return nil
		},
	})
}

// ready ADDRESS waits until a hooklog's admin listener there says that it is
// ready.
func ready(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ready ADDRESS")
	}
	poll(ts, func() error {
		_, err := get("http://" + args[0] + "/readyz")
		return err
	})
}

// httpGet URL FILE writes what a URL answers with 200 to a file.
func httpGet(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: httpget URL FILE")
	}
	body, err := get(args[0])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), body, 0o600))
}

// metric ADDRESS PATTERN waits until a line of the metrics matches.
func metric(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: metric ADDRESS PATTERN")
	}
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	poll(ts, func() error {
		body, err := get("http://" + args[0] + "/metrics")
		if err == nil && !re.Match(body) {
			err = fmt.Errorf("no metric matches %s", args[1])
		}
		return err
	})
}

// waitFile FILE N waits until a file has N lines.
func waitFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: waitfile FILE LINES")
	}
	poll(ts, func() error {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		if err != nil {
			return err
		}
		if n := strconv.Itoa(bytes.Count(b, []byte("\n"))); n != args[1] {
			return fmt.Errorf("%s has %s lines, want %s", args[0], n, args[1])
		}
		return nil
	})
}

// waitLines FOLDER N waits until the finished files of a folder have N lines.
func waitLines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: waitlines FOLDER LINES")
	}
	poll(ts, func() error {
		n := 0
		err := filepath.WalkDir(ts.MkAbs(args[0]), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".") {
				return err
			}
			b, err := os.ReadFile(path)
			n += bytes.Count(b, []byte("\n"))
			return err
		})
		if err == nil && strconv.Itoa(n) != args[1] {
			err = fmt.Errorf("files of %s have %d lines, want %s", args[0], n, args[1])
		}
		return err
	})
}

// expand FROM TO writes a file with the variables in it replaced.
func expand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: expand FROM TO")
	}
	text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o600))
}

// poll calls f until it returns nil, and fails with what it last said.
func poll(ts *testscript.TestScript, f func() error) {
	if err := await(f); err != nil {
		ts.Fatalf("%v", err)
	}
}

// eventually is poll for tests that are no scripts.
func eventually(t testing.TB, f func() error) {
	t.Helper()
	if err := await(f); err != nil {
		t.Fatal(err)
	}
}

func await(f func() error) error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := f()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("gave up waiting: %w", err)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func get(url string) ([]byte, error) {
	resp, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %d %s", url, resp.StatusCode, body)
	}
	return body, err
}

// freeAddress returns a loopback address that nobody listens on.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// process is a hooklog of its own.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr buffer
	done           chan struct{}
	err            error
}

// buffer collects output while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// hooklog starts the command in dir; it is killed at the end of the test if it
// still runs.
func hooklog(t testing.TB, dir string, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{done: make(chan struct{})}
	p.cmd = exec.Command(self)
	p.cmd.Args = append([]string{"hooklog"}, args...)
	p.cmd.Dir = dir
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() { p.kill(t) })
	return p
}

// kill ends the process without a chance to do anything.
func (p *process) kill(t testing.TB) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		t.Errorf("process %d did not die", p.cmd.Process.Pid)
	}
}

// terminate asks the process to end and returns its exit code.
func (p *process) terminate(t testing.TB, sig os.Signal) int {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("signal: %v\n%s", err, p.stderr.String())
	}
	return p.wait(t, 20*time.Second)
}

func (p *process) wait(t testing.TB, d time.Duration) int {
	t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(d):
		t.Fatalf("process did not end within %v\n%s", d, p.stderr.String())
		return -1
	}
}

// ready waits until a hooklog's admin listener says so.
func (p *process) ready(t testing.TB, admin string) {
	t.Helper()
	eventually(t, func() error {
		select {
		case <-p.done:
			t.Fatalf("hooklog ended: %v\n%s", p.err, p.stderr.String())
		default:
		}
		_, err := get("http://" + admin + "/readyz")
		return err
	})
}

// once runs a command to its end and returns what it printed and its exit code.
func once(t testing.TB, dir string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	p := hooklog(t, dir, args...)
	code = p.wait(t, 60*time.Second)
	return p.stdout.String(), p.stderr.String(), code
}

func writeFile(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func withTimeout(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}
