package main_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hooklog/cmd/internal/demo"
	"hooklog/relay/preset"
	"hooklog/relay/signature"
)

// sender posts signed events and remembers what became of each, so that the
// topic can be held against it.
type sender struct {
	url      string // where run sends to
	verifier *signature.Verifier
	client   *http.Client
	size     atomic.Int64 // of the bodies that run sends, if not zero

	attempts, accepted, duplicates, spooled, failures atomic.Int64

	mu     sync.Mutex
	events map[string]*sent
	order  []string // the IDs of acknowledged events, in that order
	mark   int64    // reached is closed when as many are accepted
	marked chan struct{}
}

// sent is one event as its sender knows it.
type sent struct {
	sum      [32]byte
	begun    time.Time // the first attempt
	attempts int
	acked    time.Time // the first 2xx; zero: none yet
	place    place     // as the first 2xx gave it
	spooled  bool      // the first 2xx gave none
}

type place struct {
	partition int32
	offset    int64
}

func (p place) String() string { return fmt.Sprintf("%d@%d", p.partition, p.offset) }

// reply is the relay's 2xx.
type reply struct {
	outcome string
	place   place
}

var errRefused = errors.New("refused")

func newSender(t testing.TB, url string) *sender {
	t.Helper()
	p, _ := preset.Lookup("standard-webhooks")
	v, err := signature.New(p.Scheme, []signature.Secret{{Value: signature.NewSecretValue(demo.Secret)}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &sender{
		url: url, verifier: v, events: make(map[string]*sent),
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
	}
	t.Cleanup(s.client.CloseIdleConnections)
	return s
}

// run sends events of its own from several workers until ctx is done; an event
// that was begun is finished, as long as giveUp is not.
func (s *sender) run(ctx, giveUp context.Context, workers int) {
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			g := demo.NewGenerator(rand.Uint64())
			for i := 0; ctx.Err() == nil; i++ {
				body := g.Next().Body
				if n := s.size.Load(); n > 0 {
					body = noise(int(n))
				}
				s.deliver(giveUp, s.url, fmt.Sprintf("msg_%d_%d_%d", w, i, rand.Uint64()), body)
			}
		})
	}
	wg.Wait()
}

// noise returns bytes that no compression makes fewer.
func noise(n int) []byte {
	out := make([]byte, 0, n+8)
	for len(out) < n {
		out = binary.LittleEndian.AppendUint64(out, rand.Uint64())
	}
	return out[:n]
}

// deliver sends one event until it has a 2xx, as providers do.
func (s *sender) deliver(ctx context.Context, url, id string, body []byte) {
	for ctx.Err() == nil {
		if _, err := s.post(ctx, url, id, body); err == nil {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond): // a provider's back-off, in small
		case <-ctx.Done():
		}
	}
}

// post sends an event once.
func (s *sender) post(ctx context.Context, url, id string, body []byte) (reply, error) {
	s.begin(id, body)
	r, err := s.exchange(ctx, url, id, body)
	if err != nil {
		s.failures.Add(1)
		return r, err
	}
	s.end(id, r)
	return r, nil
}

func (s *sender) begin(id string, body []byte) {
	s.attempts.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	ev := s.events[id]
	if ev == nil {
		ev = &sent{sum: sha256.Sum256(body), begun: time.Now()}
		s.events[id] = ev
	}
	ev.attempts++
}

func (s *sender) end(id string, r reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ev := s.events[id]; ev.acked.IsZero() {
		ev.acked, ev.place, ev.spooled = time.Now(), r.place, r.outcome == "spooled"
		s.order = append(s.order, id)
	}
	switch r.outcome {
	case "spooled":
		s.spooled.Add(1)
		return
	case "duplicate":
		s.duplicates.Add(1)
		return
	}
	if n := s.accepted.Add(1); s.marked != nil && n >= s.mark {
		close(s.marked)
		s.marked = nil
	}
}

// more returns a channel that is closed when n events more have been accepted.
func (s *sender) more(n int64) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mark, s.marked = s.accepted.Load()+n, make(chan struct{})
	return s.marked
}

// exchange is one request and its answer; no error means a 2xx.
func (s *sender) exchange(ctx context.Context, url, id string, body []byte) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	fields, err := s.verifier.Sign(&signature.Request{Method: []byte("POST"), Body: body}, id, time.Now())
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	for _, f := range fields {
		req.Header.Set(string(f.Name), string(f.Value))
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return reply{}, fmt.Errorf("%w: %d %s", errRefused, resp.StatusCode, text)
	}
	var a struct {
		ID, Outcome string
		Partition   int32
		Offset      int64
	}
	if err := json.Unmarshal(text, &a); err != nil || a.ID != id {
		return reply{}, fmt.Errorf("answer to %s: %q: %w", id, text, errors.Join(err, errRefused))
	}
	return reply{a.Outcome, place{a.Partition, a.Offset}}, nil
}

// waiting returns the events that a relay that died at that time may have had
// in its hands: those begun and not answered.
func (s *sender) waiting(died time.Time) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for id, ev := range s.events {
		if ev.waited(died) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (ev *sent) waited(at time.Time) bool {
	return ev.begun.Before(at) && (ev.acked.IsZero() || ev.acked.After(at))
}
