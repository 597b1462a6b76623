package demo

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// The event types of the demo.
const (
	PaymentSucceeded      = "payment.succeeded"
	PaymentFailed         = "payment.failed"
	CustomerCreated       = "customer.created"
	SubscriptionCancelled = "subscription.cancelled"
)

// Types returns the event types of the demo. The slice is the caller's.
func Types() []string {
	return []string{PaymentSucceeded, PaymentFailed, CustomerCreated, SubscriptionCancelled}
}

// HasType reports whether the demo has events of a type.
func HasType(name string) bool {
	for _, t := range Types() {
		if t == name {
			return true
		}
	}
	return false
}

// Event is one made-up event, as a provider would send it.
type Event struct {
	ID   string
	Type string
	Time time.Time
	Body []byte
}

// Generator makes up events, the same ones for the same seed, on every
// machine. Its bodies have the shape that Standard Webhooks recommends, and
// 0.4 to 2 KB. It is not safe for concurrent use.
type Generator struct {
	// Size, if not zero, is how long bodies are made, in bytes; those that
	// are longer by themselves stay as they are.
	Size int

	rand *rand.Rand
	now  time.Time
}

// NewGenerator returns a generator.
func NewGenerator(seed uint64) *Generator {
	return &Generator{
		// The second half of the seed is any constant.
		rand: rand.New(rand.NewPCG(seed, 0x686f6f6b6c6f67)),
		now:  time.Date(2026, 1, 5, 8, 0, 0, 0, time.UTC),
	}
}

// Next returns the next event. Of ten, six are paid orders, two failed
// payments, one is a new customer and one a cancellation. Its time is a little
// later than that of the one before, on a clock that starts at the same
// instant for every generator.
func (g *Generator) Next() Event {
	switch n := g.rand.IntN(10); {
	case n < 6:
		return g.NextOf(PaymentSucceeded)
	case n < 8:
		return g.NextOf(PaymentFailed)
	case n < 9:
		return g.NextOf(CustomerCreated)
	default:
		return g.NextOf(SubscriptionCancelled)
	}
}

// NextOf returns the next event, of that type; it panics if HasType is false.
func (g *Generator) NextOf(eventType string) Event {
	g.now = g.now.Add(time.Duration(1+g.rand.IntN(5000)) * time.Millisecond)
	ev := Event{ID: "msg_" + g.letters(26), Type: eventType, Time: g.now}
	switch eventType {
	case PaymentSucceeded:
		p := g.payment()
		p.Items, p.ShipTo = g.items(), g.address()
		p.Amount = 0
		for _, i := range p.Items {
			p.Amount += int64(i.Quantity) * i.Price
		}
		ev.Body = fill(g, ev, &p, &p.Note)
	case PaymentFailed:
		p := g.payment()
		f := pick(g, failures)
		p.Items, p.Failure = g.items(), &f
		ev.Body = fill(g, ev, &p, &p.Note)
	case CustomerCreated:
		s := signup{Customer: g.customer(), Plan: pick(g, plans), Address: g.address(), Tracking: map[string]string{
			"campaign": pick(g, campaigns), "referrer": "https://" + pick(g, campaigns) + ".example/" + g.letters(12),
			"user_agent": pick(g, agents), "visit": g.letters(32),
		}}
		s.Customer.Created = stamp(ev.Time)
		ev.Body = fill(g, ev, &s, &s.Note)
	case SubscriptionCancelled:
		c := cancellation{
			SubscriptionID: "sub_" + g.letters(14), Plan: pick(g, plans), Reason: pick(g, reasons),
			Comment: g.words(60 + g.rand.IntN(200)), EndsAt: stamp(ev.Time.AddDate(0, 1, 0)), Customer: g.customer(),
		}
		for range 1 + g.rand.IntN(8) {
			c.Seats = append(c.Seats, g.customer().Email)
		}
		ev.Body = fill(g, ev, &c, &c.Note)
	default:
		panic(fmt.Sprintf("BUG: demo has no event type %q", eventType))
	}
	return ev
}

// fill encodes the body, with a note that makes it as long as it should be.
func fill[T any](g *Generator, ev Event, data *T, note *string) []byte {
	encode := func() []byte {
		b, err := json.Marshal(payload[*T]{Type: ev.Type, Timestamp: stamp(ev.Time), Data: data})
		if err != nil {
			panic("BUG: encode a made-up event: " + err.Error())
		}
		return b
	}
	b := encode()
	// The field itself takes some: `,"note":""`.
	if missing := g.Size - len(b) - len(`,"note":""`); missing > 0 {
		*note = g.words(missing)
		b = encode()
	}
	return b
}

func stamp(t time.Time) string { return t.Format("2006-01-02T15:04:05.000Z") }

func (g *Generator) payment() payment {
	return payment{
		PaymentID: "pay_" + g.letters(20), OrderID: fmt.Sprintf("ord_%08d", g.rand.IntN(1e8)),
		Amount: int64(500 + g.rand.IntN(50_000)), Currency: pick(g, currencies), Customer: g.customer(),
		Method: method{Type: "card", Brand: pick(g, brands), Last4: fmt.Sprintf("%04d", g.rand.IntN(1e4))},
	}
}

func (g *Generator) customer() customer {
	first, last := pick(g, firstNames), pick(g, lastNames)
	mail := strings.ToLower(first + "." + last)
	return customer{
		ID: "cus_" + g.letters(14), Name: first + " " + last, Locale: pick(g, locales),
		Email: fmt.Sprintf("%s%d@example.com", mail, g.rand.IntN(1000)),
	}
}

func (g *Generator) items() []item {
	items := make([]item, 1+g.rand.IntN(6))
	for i := range items {
		items[i] = pick(g, products)
		items[i].Quantity = 1 + g.rand.IntN(4)
	}
	return items
}

func (g *Generator) address() *address {
	a := pick(g, cities)
	a.Street = fmt.Sprintf("%d %s", 1+g.rand.IntN(200), pick(g, streets))
	return &a
}

const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

func (g *Generator) letters(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[g.rand.IntN(len(alphabet))]
	}
	return string(b)
}

// words returns a text of exactly n bytes that compresses like one.
func (g *Generator) words(n int) string {
	b := make([]byte, 0, n+16)
	for len(b) < n {
		if len(b) > 0 {
			b = append(b, ' ')
		}
		b = append(b, pick(g, vocabulary)...)
	}
	return string(b[:n])
}

func pick[T any](g *Generator, from []T) T { return from[g.rand.IntN(len(from))] }
