package consumers_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"hooklog/consumers"
	"hooklog/schemas"
)

func TestMatchGlob(t *testing.T) {
	f := func(pattern, text string, want bool) {
		t.Helper()
		if got := consumers.MatchGlob(pattern, text); got != want {
			t.Errorf("MatchGlob(%q, %q) = %v, want %v", pattern, text, got, want)
		}
	}
	f("", "", true)
	f("", "a", false)
	f("*", "", true)
	f("*", "anything", true)
	f("payment.*", "payment.succeeded", true)
	f("payment.*", "payment.", true)
	f("payment.*", "payment", false)
	f("payment.*", "payments.x", false)
	f("*.failed", "payment.failed", true)
	f("*.failed", "payment.failed.", false)
	f("a*b*c", "aXXbYYbZZc", true)
	f("a*b*c", "aXXbYYbZZ", false)
	f("?", "", false)
	f("?", "é", true)
	f("a?c", "abc", true)
	f("a?c", "ac", false)
	f("*?", "", false)
	f("**", "x", true)
	f("[ab]", "a", false)
	f("[ab]", "[ab]", true)
	f(`\*`, `\x`, true)
	f("Payment.*", "payment.x", false)
}

func FuzzMatchGlob(f *testing.F) {
	f.Add("a*b?c*", "aXbYc")
	f.Add("*", "")
	f.Add("?é*", "ééé")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		clean := func(s string) string { return strings.ReplaceAll(strings.ToValidUTF8(s, "."), "\n", ".") }
		pattern, text = clean(pattern), clean(text)
		re := regexp.QuoteMeta(pattern)
		re = strings.ReplaceAll(strings.ReplaceAll(re, `\*`, ".*"), `\?`, ".")
		if want := regexp.MustCompile("^" + re + "$").MatchString(text); consumers.MatchGlob(pattern, text) != want {
			t.Errorf("MatchGlob(%q, %q) = %v, want %v", pattern, text, !want, want)
		}
	})
}

func TestRetryWait(t *testing.T) {
	f := func(r consumers.Retry, n int, err error, roll float64, want string) {
		t.Helper()
		if got := consumers.RetryWait(r, n, err, roll); got != want {
			t.Errorf("wait after attempt %d of %+v with %v (roll %v) is %s, want %s", n, r, err, roll, got, want)
		}
	}
	boom := errors.New("boom")
	zero := consumers.Retry{}
	f(zero, 1, boom, 0, "1s")
	f(zero, 2, boom, 0, "2s")
	f(zero, 6, boom, 0, "32s")
	f(zero, 7, boom, 0, "1m0s")
	f(zero, 1000, boom, 0, "1m0s")
	f(zero, 1, boom, 0.999999999, "500.000001ms")
	f(consumers.Retry{Min: 5 * time.Minute}, 1, boom, 0, "5m0s")
	f(zero, 1, consumers.RetryAfter(boom, 10*time.Second), 0, "10s")
	f(zero, 5, consumers.RetryAfter(boom, 10*time.Second), 0, "16s")
	f(zero, 1, consumers.RetryAfter(boom, 100*time.Hour), 0, "1h0m0s")
	f(zero, 1, consumers.RetryAfter(boom, -time.Hour), 0, "1s")
}

func TestNilErrorsStayNil(t *testing.T) {
	if err := consumers.RetryAfter(nil, time.Second); err != nil {
		t.Errorf("RetryAfter(nil) = %v", err)
	}
	if err := consumers.Permanent(nil); err != nil {
		t.Errorf("Permanent(nil) = %v", err)
	}
}

func TestErrorsKeepTheirCause(t *testing.T) {
	boom := errors.New("boom")
	for _, err := range []error{consumers.RetryAfter(boom, time.Second), consumers.Permanent(boom)} {
		if !errors.Is(err, boom) || err.Error() != "boom" {
			t.Errorf("%T is %v, want it to be and to read like its cause", err, err)
		}
	}
}

func TestOutcomes(t *testing.T) {
	for o, want := range map[consumers.Outcome]string{
		consumers.Unrouted: "unrouted", consumers.Handled: "handled", consumers.DeadLettered: "dead_lettered", consumers.Internal: "internal", 99: "internal",
	} {
		if got := o.String(); got != want {
			t.Errorf("outcome %d is %q, want %q", o, got, want)
		}
	}
	if got := consumers.WorstOf(consumers.Handled, consumers.DeadLettered); got != consumers.DeadLettered {
		t.Errorf("worst of handled and dead-lettered is %v", got)
	}
	if got := consumers.WorstOf(consumers.OutcomeNone, consumers.DeadLettered); got != consumers.OutcomeNone {
		t.Errorf("worst of none and dead-lettered is %v, want none: the record must come again", got)
	}
}

func TestValidate(t *testing.T) {
	h := consumers.HandlerFunc(nil)
	ok := consumers.Handle("*", consumers.JSON(func(_ ctx, _ schemas.Event, _ any) error { return nil }))
	sink := &memorySink{}
	good := consumers.Options{Group: "g", Topics: []string{"t"}, Routes: []consumers.Route{ok}}
	for _, c := range []struct {
		name   string
		change func(*consumers.Options)
		fields []string
	}{
		{"good", func(*consumers.Options) {}, nil},
		{"empty", func(o *consumers.Options) { *o = consumers.Options{} }, []string{"group", "topics", "routes"}},
		{"group that is no topic name", func(o *consumers.Options) { o.Group = "a b" }, []string{"dead_letter"}},
		{"the same with a dead letter", func(o *consumers.Options) { o.Group, o.DeadLetter = "a b", "x" }, nil},
		{"topics", func(o *consumers.Options) { o.Topics = []string{"", "t", "t"} }, []string{"topics[0]", "topics[2]"}},
		{"loop", func(o *consumers.Options) { o.DeadLetter = "t" }, []string{"dead_letter"}},
		{"two starts", func(o *consumers.Options) { o.Dir, o.Start = "d", consumers.Start{Latest: true, Time: time.Now()} }, []string{"start"}},
		{"latest without folder", func(o *consumers.Options) { o.Start.Latest = true }, []string{"dir"}},
		{"negative", func(o *consumers.Options) {
			o.Timeout, o.MaxInFlight, o.DrainTimeout, o.CommitEvery, o.DeadLetterReplication = -1, -1, -1, -1, -1
			o.Retry = consumers.Retry{Attempts: -1, Min: -1, Max: -1}
		}, []string{"dead_letter_replication", "max_in_flight", "timeout", "drain_timeout", "commit_every", "retry.min", "retry.max", "retry.attempts"}},
		{"min over max", func(o *consumers.Options) { o.Retry = consumers.Retry{Min: 2, Max: 1} }, []string{"retry.min"}},
		{"min over the default max", func(o *consumers.Options) { o.Retry.Min = time.Hour }, nil},
		{"lost offset", func(o *consumers.Options) { o.OnLostOffset = 9 }, []string{"on_lost_offset"}},
		{"handlers and sinks", func(o *consumers.Options) {
			o.Routes = []consumers.Route{ok, {Name: "sink", Sink: sink}}
		}, []string{"routes[1]"}},
		{"names", func(o *consumers.Options) {
			o.Routes = []consumers.Route{ok, ok, {Handler: ok.Handler}}
		}, []string{"routes[1].name", "routes[2].name"}},
		{"one without a name", func(o *consumers.Options) { o.Routes = []consumers.Route{{Sink: sink}} }, nil},
		{"neither, both, nil", func(o *consumers.Options) {
			o.Routes = []consumers.Route{{Name: "1"}, {Name: "2", Handler: ok.Handler, Sink: sink}, {Name: "3", Handler: h}}
		}, []string{"routes[0]", "routes[1]", "routes[2]"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := good
			c.change(&o)
			err := o.Validate()
			var got []string
			if err != nil {
				for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
					var f interface{ Field() string }
					if !errors.As(e, &f) {
						t.Fatalf("%v has no field", e)
					}
					got = append(got, f.Field())
				}
			}
			if strings.Join(got, " ") != strings.Join(c.fields, " ") {
				t.Errorf("mistakes in %q, want %q: %v", got, c.fields, err)
			}
			if _, e := consumers.New(o); (e == nil) != (err == nil) {
				t.Errorf("New returned %v", e)
			}
		})
	}
}

func TestSlots(t *testing.T) {
	f := func(n int, acquire, want string) {
		t.Helper()
		shares := consumers.Slots(n, 3)
		var got strings.Builder
		for _, c := range acquire {
			i := int(c - 'a')
			switch {
			case c >= 'A' && c <= 'C':
				shares[c-'A'].GiveBack()
			case c >= 'x':
				shares[c-'x'].Leave()
			case shares[i].TryAcquire():
				got.WriteRune(c)
			default:
				got.WriteByte('-')
			}
		}
		if got.String() != want {
			t.Errorf("of %d slots, %s gets %s, want %s", n, acquire, got.String(), want)
		}
	}
	f(2, "abc", "ab-")       // No more than there are.
	f(1, "aab", "a--")       // One slot cannot be kept free.
	f(1, "aAb", "ab")        // It goes round.
	f(6, "aaaaaa", "aaaa--") // Two partitions hold nothing: a slot is kept for each.
	f(6, "aaaaabca", "aaaa-bc-")
	f(6, "aaaabbb", "aaaab--")
	f(4, "aaaa", "aa--")
	f(4, "aayza", "aaa") // Those that left need none.
	f(3, "aaa", "aa-")   // Half of them at most are kept.
}

func BenchmarkMatchGlob(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		consumers.MatchGlob("payment.*", "payment.succeeded")
	}
}
