package demo

import (
	"context"
	"fmt"

	"hooklog/consumers"
	"hooklog/schemas"
)

// Welcomes is an outbox of letters to new customers: the handler
// demo.send_welcome_email, for customer.created. It is safe for concurrent
// use.
type Welcomes struct{ *journal }

var _ consumers.Handler = (*Welcomes)(nil)

// OpenWelcomes opens or makes welcomes.jsonl in a folder.
func OpenWelcomes(dir string) (*Welcomes, error) {
	j, err := openJournal(dir, "welcomes.jsonl")
	if err != nil {
		return nil, err
	}
	return &Welcomes{j}, nil
}

// signup is the data of customer.created.
type signup struct {
	Customer customer          `json:"customer"`
	Plan     string            `json:"plan"`
	Address  *address          `json:"address,omitempty"`
	Tracking map[string]string `json:"tracking,omitempty"`
	Note     string            `json:"note,omitempty"`
}

// Handle writes the letter to one new customer.
func (w *Welcomes) Handle(ctx context.Context, ev schemas.Event) error {
	return consumers.JSON(w.welcome).Handle(ctx, ev)
}

func (w *Welcomes) welcome(_ context.Context, ev schemas.Event, body payload[signup]) error {
	c := body.Data.Customer
	if c.Email == "" {
		return incomplete("data.customer.email")
	}
	return w.once(&ev, mailLine{
		To:      c.Email,
		Subject: "Welcome, " + c.Name,
		Text:    fmt.Sprintf("Dear %s, your plan %q is ready. Your customer number is %s.", c.Name, body.Data.Plan, c.ID),
		line:    line{Source: ev.Source, Event: ev.ID},
	})
}
