package demo_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"hooklog/cmd/internal/demo"
)

const childVariable = "HOOKLOG_DEMO_CHILD_DATA"

// TestMain runs the child of TestKill instead of the tests where it is one.
func TestMain(m *testing.M) {
	if data := os.Getenv(childVariable); data != "" {
		child(data)
	}
	os.Exit(m.Run())
}

// child handles the same events as every child, from several goroutines, and
// prints the ID of each that was reported as done, until it is killed.
func child(data string) {
	h, err := demo.Handlers()["demo.fulfil_order"](data)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("open")
	events := make(chan demo.Event)
	go func() {
		for g := demo.NewGenerator(3); ; {
			events <- g.NextOf(demo.PaymentSucceeded)
		}
	}()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for ev := range events {
				if err := h.Handle(context.Background(), received(ev)); err != nil {
					panic(err)
				}
				os.Stdout.WriteString(ev.ID + "\n")
			}
		})
	}
	wg.Wait()
}

// TestKill kills a process that works at full speed, several times over the
// same file. Whatever it had reported as done is in the file, once.
func TestKill(t *testing.T) {
	data := t.TempDir()
	reported := map[string]bool{}
	for round := range 5 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		cmd := exec.CommandContext(ctx, os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"="+data)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// It is killed after some new events, while more are on their way. What
		// it printed after that counts too.
		fresh := 0
		for s := bufio.NewScanner(out); s.Scan(); {
			if id := s.Text(); strings.HasPrefix(id, "msg_") && len(id) == len("msg_")+26 && !reported[id] {
				reported[id] = true
				fresh++
			}
			if fresh == 50+31*round {
				cmd.Process.Kill()
			}
		}
		err = cmd.Wait()
		cancel()
		if fresh < 50 {
			t.Fatalf("round %d: the child reported %d new events and ended with %v", round, fresh, err)
		}
	}
	open(t, "demo.fulfil_order", data) // Cuts off what the last kill left.
	found := map[string]int{}
	for _, l := range lines(t, data, "orders.jsonl") {
		_, id, _ := strings.Cut(l, `"event":"`)
		found[strings.TrimSuffix(id, `"}`)]++
	}
	for id := range reported {
		if found[id] != 1 {
			t.Errorf("event %s was reported as done: got %d lines, want 1", id, found[id])
		}
	}
	for id, n := range found {
		if n != 1 {
			t.Errorf("event %s has %d lines, want 1", id, n)
		}
	}
	if len(found) < len(reported) {
		t.Errorf("%d events were reported, %d are in the file", len(reported), len(found))
	}
}
