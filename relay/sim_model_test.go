package relay_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// modelWindow is how long the relay of the model remembers an ID.
const modelWindow = 30 * time.Second

// verb is a kind of what happens to the relay of the model.
type verb uint8

const (
	sends    verb = iota
	breaks        // the broker, as the trouble says
	heals         // the broker
	restarts      // in order
	kills
	waits
	recreates // the topic
	appendsForeign
	verbCount
)

// trouble says what the broker does with the next record.
type brokerTrouble uint8

const (
	none           brokerTrouble = iota
	losesAnswer                  // appends it; the next attempt is told that it was there
	asksAgain                    // does not append it, and says to try again
	refuses                      // does not append it, and says so for good
	appendsRefuses               // appends it, loses the answer, and refuses the next attempt
	appendsForgets               // appends it, loses the answer, and does not know the sequence of the next attempt
	keepsWaiting                 // it and all others, until it heals
	troubleCount
)

func (b brokerTrouble) String() string {
	return [...]string{"none", "loses the answer", "asks again", "refuses", "appends and refuses", "appends and forgets", "keeps waiting"}[b]
}

// step is one thing that happens; nothing else happens meanwhile.
type step struct {
	verb      verb
	id        int
	copies    int  // sent at the same moment
	otherBody bool // than the ID's first
	trouble   brokerTrouble
	seconds   int
	unsynced  int // percent, at a kill
	indexLost bool
}

func (s step) String() string {
	switch s.verb {
	case sends:
		return fmt.Sprintf("send msg_%d, %d copies, other body %v", s.id, s.copies, s.otherBody)
	case breaks:
		return fmt.Sprintf("the broker %v", s.trouble)
	case heals:
		return "the broker heals"
	case restarts:
		return fmt.Sprintf("restart, index lost %v", s.indexLost)
	case kills:
		return fmt.Sprintf("kill, %d %% unsynced, index lost %v", s.unsynced, s.indexLost)
	case waits:
		return fmt.Sprintf("%d seconds pass", s.seconds)
	case recreates:
		return "the topic is deleted"
	}
	return fmt.Sprintf("another relay appends msg_%d", s.id)
}

func drawStep(t *rapid.T) step {
	// Most of what happens is requests.
	weights := []verb{sends, sends, sends, sends, sends, sends, breaks, breaks, breaks, heals, restarts, kills, kills, waits, waits, recreates, appendsForeign}
	s := step{verb: rapid.SampledFrom(weights).Draw(t, "verb")}
	switch s.verb {
	case sends:
		s.id = rapid.IntRange(0, 3).Draw(t, "id")
		s.copies = rapid.SampledFrom([]int{1, 1, 1, 2, 5}).Draw(t, "copies")
		s.otherBody = rapid.Bool().Draw(t, "other body")
	case breaks:
		s.trouble = brokerTrouble(rapid.IntRange(1, int(troubleCount)-1).Draw(t, "trouble"))
	case restarts:
		s.indexLost = rapid.Bool().Draw(t, "index lost")
	case kills:
		s.unsynced = rapid.SampledFrom([]int{100, 100, 50, 0}).Draw(t, "unsynced")
		s.indexLost = rapid.SampledFrom([]bool{false, false, true}).Draw(t, "index lost")
	case waits:
		s.seconds = rapid.SampledFrom([]int{1, 8, 40}).Draw(t, "seconds")
	case appendsForeign:
		s.id = rapid.IntRange(0, 3).Draw(t, "id")
	}
	return s
}

// TestModel compares the relay with a model that is a map and a list: the
// answer to each request, and in the end the topic, record by record.
func TestModel(t *testing.T) {
	startClock()
	checks := "60"
	if raceEnabled {
		checks = "15"
	}
	if testing.Short() {
		checks = "5"
	}
	if n := os.Getenv(simCountVariable); n != "" {
		checks = n
	}
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !given {
		old := flag.Lookup("rapid.checks").Value.String()
		if err := flag.Set("rapid.checks", checks); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = flag.Set("rapid.checks", old) }()
	}
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.Custom(drawStep), 1, 20).Draw(rt, "steps")
		if failures := runModel(t, steps); failures != nil {
			rt.Fatal(failures)
		}
	})
}

// TestDoubtBeyondWindow: an event comes again that the window has let go, and
// its record is in doubt. The old one, which is still in the index for a while,
// is not taken for it: the sender would be told 200, and the topic not have it.
func TestDoubtBeyondWindow(t *testing.T) {
	startClock()
	if failures := runModel(t, []step{
		{verb: sends, copies: 1},
		{verb: waits, seconds: 8},
		{verb: waits, seconds: 8},
		{verb: waits, seconds: 8},
		{verb: waits, seconds: 6},
		{verb: breaks, trouble: refuses},
		{verb: sends, copies: 1, otherBody: true},
		{verb: sends, copies: 1, otherBody: true},
	}); failures != nil {
		t.Fatal(failures)
	}
}

// runModel does the steps in a bubble. A failure is for whoever asked, not for
// the bubble: rapid would take that for its own.
func runModel(t *testing.T, steps []step) (failures error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := newModel(t)
		defer m.end()
		m.run(steps)
		if len(m.failures) > 0 {
			failures = fmt.Errorf("%s\n%s", strings.Join(m.failures, "\n"), strings.Join(m.trace, ""))
		}
	})
	return failures
}
