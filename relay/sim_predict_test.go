package relay_test

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// prediction is what the copies of one event get when they are sent at once.
type prediction struct {
	outcomes []string // sorted
	offset   int      // of the 2xx among them
}

// predict says what copies of an event get, and how it stands afterwards.
func (m *model) predict(id, body string, copies int) (p prediction) {
	all := func(outcome string) []string {
		return slices.Repeat([]string{outcome}, copies)
	}
	appended := func() prediction {
		m.state[id] = &standing{committed: true, offset: len(m.log), received: time.Now()}
		m.log = append(m.log, entry{id, body})
		return prediction{append([]string{"accepted"}, all("duplicate")[1:]...), len(m.log) - 1}
	}
	s := m.state[id]
	trouble := m.trouble
	switch {
	case s != nil && s.committed:
		return prediction{all("duplicate"), s.offset}
	case s != nil:
		return prediction{outcomes: all("log_unavailable")}
	}
	if trouble != keepsWaiting {
		m.trouble = none
	}
	switch trouble {
	case refuses:
		m.state[id] = &standing{since: time.Now(), client: m.client}
		return prediction{outcomes: all("log_unavailable")}
	case keepsWaiting:
		m.state[id] = &standing{waiting: true}
		return prediction{outcomes: all("log_unavailable")}
	case appendsForgets:
		m.client++ // The one that was not known is replaced.
	case appendsRefuses: // It is found in the topic and not acknowledged.
	case none, losesAnswer, asksAgain, troubleCount:
		// A record that is acknowledged proves what has become of those
		// before it.
		for other, s := range m.state {
			if !s.committed && !s.waiting && s.client == m.client {
				delete(m.state, other)
			}
		}
	}
	return appended()
}

// ask sends a request, to a relay that has just begun again and again until it
// is ready. It need not be ready at once, but it must not guess.
func (m *model) ask(raw []byte) (response, error) {
	for {
		a, _, err := m.process.do(raw, 10*time.Second)
		if err == nil && a.code(m.t) == "not_ready" && time.Since(m.process.began) < 10*time.Second {
			time.Sleep(time.Millisecond)
			continue
		}
		return a, err
	}
}

// send sends copies of an event at the same moment.
func (m *model) send(s step) {
	id := fmt.Sprint("msg_", s.id)
	body := bodyFor(id)
	if s.otherBody {
		body = bodyFor(id + " again")
	}
	want := m.predict(id, body, s.copies)
	got := make([]string, s.copies)
	var places []string
	var mu sync.Mutex
	var copies sync.WaitGroup
	raw := request(m.t, m.source, id, body)
	for i := range s.copies {
		copies.Go(func() {
			a, err := m.ask(raw)
			m.say("%s gets %v, %v", id, a, err)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				got[i] = err.Error()
				return
			}
			if got[i] = a.code(m.t); a.status == 200 {
				places = append(places, a.place(m.t))
			}
		})
	}
	copies.Wait()
	slices.Sort(got)
	slices.Sort(want.outcomes)
	if !slices.Equal(got, want.outcomes) {
		m.errorf("%v: got %v, want %v", s, got, want.outcomes)
	}
	for _, p := range places {
		if w := fmt.Sprintf("%s/0@%d", topicName, want.offset); p != w {
			m.errorf("%v: at %s, want %s", s, p, w)
		}
	}
}
