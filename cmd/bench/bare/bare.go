// Package bare is the limit that the relay is measured against: fasthttp, an
// HMAC, and a franz-go producer that waits for all replicas. It answers 200
// after the acknowledgement, as the relay does, but it remembers nothing,
// counts nothing and keeps no headers: a duplicate is written twice, and a
// record cannot be verified again.
package bare

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/valyala/fasthttp"
)

// Options are what the server needs; all are required but Linger.
type Options struct {
	Listen  string
	Brokers []string
	// Topic is made if it is missing.
	Topic      string
	Partitions int32
	// Secret is "whsec_" and base64.
	Secret string
	// Linger is how long the producer waits for more records to share a batch.
	Linger time.Duration
}

const (
	tolerance   = 5 * time.Minute
	stopTimeout = 10 * time.Second
)

// Run serves until ctx is done, then drains.
func Run(ctx context.Context, opts Options) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(opts.Secret, "whsec_"))
	if err != nil {
		return fmt.Errorf("decode secret: %w", err)
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(opts.Brokers...),
		kgo.DefaultProduceTopic(opts.Topic),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(opts.Linger),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
	)
	if err != nil {
		return fmt.Errorf("make Kafka client: %w", err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(ctx, opts.Partitions, 1, nil, opts.Topic); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("create topic %q: %w", opts.Topic, err)
	}
	ln, err := net.Listen("tcp", opts.Listen)
	if err != nil {
		return err
	}
	h := &handler{client: client, topic: opts.Topic}
	h.macs.New = func() any { return hmac.New(sha256.New, key) }
	server := &fasthttp.Server{
		Handler:                       h.serve,
		DisableHeaderNamesNormalizing: true,
		DisablePreParseMultipartForm:  true,
		NoDefaultServerHeader:         true,
		MaxRequestBodySize:            1 << 20,
		ReadTimeout:                   10 * time.Second,
		IdleTimeout:                   time.Minute,
	}
	served := make(chan error, 1) // The one result of Serve.
	go func() { served <- server.Serve(ln) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return errors.Join(server.ShutdownWithContext(stop), client.Flush(stop), <-served)
}

type handler struct {
	client *kgo.Client
	topic  string
	macs   sync.Pool // of hash.Hash
}

func (h *handler) serve(ctx *fasthttp.RequestCtx) {
	if ctx.IsGet() { // The readiness of whoever started this server.
		return
	}
	header, body := &ctx.Request.Header, ctx.PostBody()
	id := header.Peek("webhook-id")
	if !h.verify(id, header.Peek("webhook-timestamp"), header.Peek("webhook-signature"), body) {
		ctx.SetStatusCode(fasthttp.StatusUnauthorized)
		return
	}
	// One allocation for what outlives the handler.
	kept := make([]byte, len(id)+len(body))
	copy(kept, id)
	copy(kept[len(id):], body)
	record := &kgo.Record{Key: kept[:len(id):len(id)], Value: kept[len(id):]}
	done := make(chan error, 1) // The promise's one result; it must not block.
	// Not a context that ends with the server: what was produced in the drain
	// is still to be acknowledged.
	h.client.Produce(context.Background(), record, func(_ *kgo.Record, err error) { done <- err })
	if err := <-done; err != nil {
		ctx.SetStatusCode(fasthttp.StatusServiceUnavailable)
		return
	}
	ctx.SetContentType("application/json")
	b := append(ctx.Response.Body(), `{"id":"`...)
	b = append(b, id...)
	b = append(b, `","outcome":"accepted","topic":"`...)
	b = append(b, h.topic...)
	b = append(b, `","partition":`...)
	b = strconv.AppendInt(b, int64(record.Partition), 10)
	b = append(b, `,"offset":`...)
	b = strconv.AppendInt(b, record.Offset, 10)
	ctx.Response.SetBodyRaw(append(b, '}'))
}

func (h *handler) verify(id, timestamp, signature, body []byte) bool {
	seconds, err := strconv.ParseInt(string(timestamp), 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > tolerance {
		return false
	}
	mac := h.macs.Get().(interface {
		Write(p []byte) (int, error)
		Sum(b []byte) []byte
		Reset()
	})
	defer h.macs.Put(mac)
	mac.Reset()
	for _, part := range [][]byte{id, {'.'}, timestamp, {'.'}, body} {
		_, _ = mac.Write(part)
	}
	var sum [sha256.Size]byte
	want := base64.StdEncoding.AppendEncode([]byte("v1,"), mac.Sum(sum[:0]))
	return hmac.Equal(want, signature)
}
