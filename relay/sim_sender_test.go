package relay_test

import (
	"bufio"
	"context"
	"fmt"
	"testing"
	"time"

	"hooklog/relay"
	"hooklog/schemas"
)

// eventOf is the source and the ID of an event of the plan. Both sources use
// the same IDs.
func (h *history) eventOf(n int) (relay.Source, string) {
	return h.sources[n%2], fmt.Sprint("msg_", n/2)
}

// bodyFor is the body of an event; each ID has one.
func bodyFor(id string) string { return fmt.Sprintf(`{"type":"t","id":%q}`, id) }

// send is a provider with one event.
func (h *history) send(t *testing.T, s *simSender) {
	time.Sleep(s.at)
	src, id := h.eventOf(s.event)
	h.insist(t, s, src, id)
}

// insist sends until it gets a 2xx, or is tired.
func (h *history) insist(t *testing.T, s *simSender, src relay.Source, id string) {
	began := time.Now()
	for try := 1; s.tries == 0 || try <= s.tries; try++ {
		if h.try(t, s, src, id) {
			return
		}
		if d := time.Since(began); d > 2*time.Minute {
			t.Errorf("%s/%s: no 2xx within %v", src.Name, id, d)
			return
		}
		time.Sleep(s.pause)
	}
}

// try sends an event once and reports whether it got a 2xx. Besides, all it may
// get is a 503, or no answer where the relay was killed or the sender has no
// patience.
func (h *history) try(t *testing.T, s *simSender, src relay.Source, id string) bool {
	name := eventName(src.Name, schemas.EventID(id))
	body := bodyFor(id)
	p := h.process()
	a, had, err := p.do(request(t, src, id, body), s.patience)
	h.mu.Lock()
	h.tally.Requests++
	if had {
		p.sent.Add(1)
	}
	h.mu.Unlock()
	if err != nil {
		h.say("%s: %s gets nothing: %v", p.name, name, err)
		h.mu.Lock()
		h.tally.Broken++
		h.mu.Unlock()
		return false
	}
	h.say("%s: %s gets %v", p.name, name, a)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch a.status {
	case 200:
		ans := answered{event: name, outcome: a.code(t), body: body}
		switch ans.outcome {
		case "spooled": // It has no place yet.
			h.tally.Spooled++
		case "accepted":
			ans.place = a.place(t)
			h.tally.Accepted++
		default:
			ans.place = a.place(t)
			h.tally.Duplicates++
		}
		h.answers = append(h.answers, ans)
		return true
	case 503:
		h.tally.Refused++
		if a.header.Get("Retry-After") == "" {
			t.Errorf("%s: 503 without Retry-After", name)
		}
	default:
		t.Errorf("%s: %v, want 200 or 503", name, a)
	}
	return false
}

// do sends a request on a connection of its own. It reports what came back and
// whether the relay has had the request.
func (p *process) do(raw []byte, patience time.Duration) (a response, had bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := p.network.dial(ctx, "tcp", p.address)
	if err != nil {
		return response{}, false, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return response{}, false, err
	}
	w := &wire{Conn: c, br: bufio.NewReader(c)}
	if _, err := w.Write(raw); err != nil {
		return response{}, false, err
	}
	a, err = w.read("POST")
	return a, true, err
}
