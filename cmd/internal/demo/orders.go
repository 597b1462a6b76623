package demo

import (
	"context"
	"fmt"
	"strings"

	"hooklog/consumers"
	"hooklog/schemas"
)

// OrderBook ships what was paid: the handler demo.fulfil_order, for
// payment.succeeded. It is safe for concurrent use.
type OrderBook struct{ *journal }

var _ consumers.Handler = (*OrderBook)(nil)

// OpenOrderBook opens or makes orders.jsonl in a folder.
func OpenOrderBook(dir string) (*OrderBook, error) {
	j, err := openJournal(dir, "orders.jsonl")
	if err != nil {
		return nil, err
	}
	return &OrderBook{j}, nil
}

// payment is the data of payment.succeeded and payment.failed.
type payment struct {
	PaymentID string   `json:"payment_id"`
	OrderID   string   `json:"order_id"`
	Amount    int64    `json:"amount"`
	Currency  string   `json:"currency"`
	Method    method   `json:"payment_method"`
	Customer  customer `json:"customer"`
	Items     []item   `json:"items,omitempty"`
	ShipTo    *address `json:"shipping_address,omitempty"`
	Failure   *failure `json:"failure,omitempty"`
	Note      string   `json:"note,omitempty"`
}

type method struct {
	Type  string `json:"type"`
	Brand string `json:"brand,omitempty"`
	Last4 string `json:"last4,omitempty"`
}

type item struct {
	SKU      string `json:"sku"`
	Name     string `json:"name"`
	Quantity int    `json:"quantity"`
	Price    int64  `json:"unit_price"`
}

type address struct {
	Street  string `json:"street"`
	City    string `json:"city"`
	Zip     string `json:"postal_code"`
	Country string `json:"country"`
}

type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

type orderLine struct {
	Order string   `json:"order"`
	Total string   `json:"total"`
	Ship  []string `json:"ship"`
	To    string   `json:"to"`
	line
}

// Handle fulfils the order of one payment.
func (o *OrderBook) Handle(ctx context.Context, ev schemas.Event) error {
	return consumers.JSON(o.fulfil).Handle(ctx, ev)
}

func (o *OrderBook) fulfil(_ context.Context, ev schemas.Event, body payload[payment]) error {
	p := body.Data
	if p.OrderID == "" {
		return incomplete("data.order_id")
	}
	l := orderLine{
		Order: p.OrderID, Total: amount(p.Currency, p.Amount), To: p.Customer.Name,
		Ship: []string{}, line: line{Source: ev.Source, Event: ev.ID},
	}
	for _, i := range p.Items {
		l.Ship = append(l.Ship, fmt.Sprintf("%d x %s (%s)", i.Quantity, i.Name, i.SKU))
	}
	if a := p.ShipTo; a != nil {
		l.To = strings.Join([]string{p.Customer.Name, a.Street, a.Zip + " " + a.City, a.Country}, ", ")
	}
	return o.once(&ev, l)
}
