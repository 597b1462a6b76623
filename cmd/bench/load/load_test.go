package load_test

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hooklog/cmd/bench/load"
)

const secret = "whsec_dGVzdCBzZWNyZXQgb2YgdGhlIGxvYWQ="

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a server that answers each request by f, until the test ends.
func serve(t *testing.T, f http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: f, ReadHeaderTimeout: 5 * time.Second}
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(ln) })
	t.Cleanup(func() {
		_ = server.Close()
		wg.Wait()
	})
	return ln.Addr().String()
}

func TestRunSendsEachEventOnceAndSigned(t *testing.T) {
	const events, size = 500, 2048
	key, _ := base64.StdEncoding.DecodeString(secret[len("whsec_"):])
	var mu sync.Mutex
	seen := map[string]int{}
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || len(body) != size || !json.Valid(body) {
			t.Errorf("body of %d bytes, %v: want JSON of %d", len(body), err, size)
		}
		id := r.Header.Get("webhook-id")
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%s.%s", id, r.Header.Get("webhook-timestamp"), body)
		want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
		if got := r.Header.Get("webhook-signature"); got != want {
			t.Errorf("signature %q, want %q", got, want)
		}
		if seconds, err := strconv.ParseInt(r.Header.Get("webhook-timestamp"), 10, 64); err != nil || time.Since(time.Unix(seconds, 0)) > time.Minute {
			t.Errorf("timestamp %q is not now", r.Header.Get("webhook-timestamp"))
		}
		mu.Lock()
		defer mu.Unlock()
		seen[id]++
		if len(seen)%5 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write([]byte("ok"))
	})
	batch, err := load.Sign(secret, events, size)
	if err != nil {
		t.Fatal(err)
	}
	result, err := load.Run(t.Context(), load.Options{Address: address, Path: "/hooks/x", Connections: 7, Timeout: 5 * time.Second}, batch, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if len(seen) != events || result.Accepted != events*4/5 || result.Statuses[503] != events/5 || result.Errors() != events/5 {
		t.Errorf("seen %d IDs, result %+v: want %d, a fifth of them 503", len(seen), result, events)
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s was sent %d times", id, n)
		}
	}
	if !result.Exhausted || result.Rate() <= 0 || result.Quantile(99) < result.Quantile(50) || result.Quantile(50) <= 0 {
		t.Errorf("exhausted %t, rate %g, p50 %s, p99 %s", result.Exhausted, result.Rate(), result.Quantile(50), result.Quantile(99))
	}
}

func TestRunEndsByTime(t *testing.T) {
	address := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })
	batch, err := load.Sign(secret, 100_000, 10)
	if err != nil {
		t.Fatal(err)
	}
	result, err := load.Run(t.Context(), load.Options{Address: address, Path: "/", Connections: 2, Timeout: 5 * time.Second}, batch, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if result.Exhausted || result.Accepted == 0 || result.Errors() != 0 {
		t.Errorf("result %+v, want some accepted and none failed", result)
	}
}

// A server that breaks every other answer must cost that request and no more.
func TestRunCountsBrokenAnswers(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			r := bufio.NewReader(conn)
			for i := range 2 {
				req, err := http.ReadRequest(r)
				if err != nil {
					break
				}
				_, _ = io.Copy(io.Discard, req.Body)
				if i == 0 {
					// In pieces, as a network may deliver it.
					_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nX: y\r\ncontent-LENGTH:")
					_, _ = io.WriteString(conn, " 5\r\n\r\nhe")
					_, _ = io.WriteString(conn, "llo")
				} else {
					_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
				}
			}
			_ = conn.Close()
		}
	})
	defer func() {
		_ = ln.Close()
		wg.Wait()
	}()
	batch, err := load.Sign(secret, 10, 100)
	if err != nil {
		t.Fatal(err)
	}
	result, err := load.Run(t.Context(), load.Options{Address: ln.Addr().String(), Path: "/", Connections: 1, Timeout: 5 * time.Second}, batch, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if result.Accepted != 5 || result.Failed != 5 || result.LastError == nil {
		t.Errorf("result %+v, want 5 accepted and 5 failed", result)
	}
}
