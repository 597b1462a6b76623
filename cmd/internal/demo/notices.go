package demo

import (
	"context"
	"fmt"

	"hooklog/consumers"
	"hooklog/schemas"
)

// Notices is an outbox of letters to customers whose payment failed: the
// handler demo.notify_customer, for payment.failed. It is safe for concurrent
// use.
type Notices struct{ *journal }

var _ consumers.Handler = (*Notices)(nil)

// OpenNotices opens or makes notices.jsonl in a folder.
func OpenNotices(dir string) (*Notices, error) {
	j, err := openJournal(dir, "notices.jsonl")
	if err != nil {
		return nil, err
	}
	return &Notices{j}, nil
}

type mailLine struct {
	To      string `json:"to"`
	Subject string `json:"subject"`
	Text    string `json:"text"`
	line
}

// Handle writes the letter for one failed payment.
func (n *Notices) Handle(ctx context.Context, ev schemas.Event) error {
	return consumers.JSON(n.notify).Handle(ctx, ev)
}

func (n *Notices) notify(_ context.Context, ev schemas.Event, body payload[payment]) error {
	p := body.Data
	if p.Customer.Email == "" {
		return incomplete("data.customer.email")
	}
	reason := "the bank gave no reason"
	if p.Failure != nil {
		reason = p.Failure.Message
	}
	total := amount(p.Currency, p.Amount)
	return n.once(&ev, mailLine{
		To:      p.Customer.Email,
		Subject: "Your payment of " + total + " did not go through",
		Text:    fmt.Sprintf("Dear %s, we could not charge %s for order %s: %s.", p.Customer.Name, total, p.OrderID, reason),
		line:    line{Source: ev.Source, Event: ev.ID},
	})
}
