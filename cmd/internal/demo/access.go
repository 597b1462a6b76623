package demo

import (
	"context"

	"hooklog/consumers"
	"hooklog/schemas"
)

// AccessList takes access away from those who cancelled: the handler
// demo.revoke_access, for subscription.cancelled. It is safe for concurrent
// use.
type AccessList struct{ *journal }

var _ consumers.Handler = (*AccessList)(nil)

// OpenAccessList opens or makes access.jsonl in a folder.
func OpenAccessList(dir string) (*AccessList, error) {
	j, err := openJournal(dir, "access.jsonl")
	if err != nil {
		return nil, err
	}
	return &AccessList{j}, nil
}

// cancellation is the data of subscription.cancelled.
type cancellation struct {
	SubscriptionID string   `json:"subscription_id"`
	Plan           string   `json:"plan"`
	Reason         string   `json:"reason,omitempty"`
	Comment        string   `json:"comment,omitempty"`
	EndsAt         string   `json:"ends_at"`
	Seats          []string `json:"seats,omitempty"`
	Customer       customer `json:"customer"`
	Note           string   `json:"note,omitempty"`
}

type accessLine struct {
	Revoke       string   `json:"revoke"`
	Subscription string   `json:"subscription"`
	Plan         string   `json:"plan"`
	From         string   `json:"from"`
	Users        []string `json:"users,omitempty"`
	line
}

// Handle revokes the access of one subscription.
func (a *AccessList) Handle(ctx context.Context, ev schemas.Event) error {
	return consumers.JSON(a.revoke).Handle(ctx, ev)
}

func (a *AccessList) revoke(_ context.Context, ev schemas.Event, body payload[cancellation]) error {
	c := body.Data
	if c.Customer.ID == "" {
		return incomplete("data.customer.id")
	}
	from := c.EndsAt
	if from == "" {
		from = "now"
	}
	return a.once(&ev, accessLine{
		Revoke: c.Customer.ID, Subscription: c.SubscriptionID, Plan: c.Plan, From: from, Users: c.Seats,
		line: line{Source: ev.Source, Event: ev.ID},
	})
}
