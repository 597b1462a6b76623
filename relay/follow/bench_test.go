package follow_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kgo"

	"hooklog/relay/follow"
	"hooklog/schemas"
)

// BenchmarkCatchUp reads 200,000 records of 1 KB into an empty index: what a
// relay that has lost its index waits for. Brokers and follower share the
// machine.
func BenchmarkCatchUp(b *testing.B) {
	const n = 200_000
	c := startKafka(b, 6)
	cl := newClient(b, c, kgo.MaxBufferedRecords(20_000), kgo.ProducerBatchMaxBytes(1_000_000), kgo.ProducerLinger(5*time.Millisecond))
	body := bytes.Repeat([]byte("x"), 700) // 1 KB with the headers
	now := time.Now()
	failed := make(chan error, n)
	size := 0
	for i := range n {
		r := schemas.Encode(&schemas.Event{
			ID: eventID(i), Source: "demo", Type: "test.made", Received: now, Scheme: "standard-webhooks", SecretID: "a1b2c3d4",
			Method: "POST", Target: "/hooks/demo", ContentType: "application/json",
			Headers: []schemas.Header{{Name: "host", Value: []byte("example.org")}, {Name: "user-agent", Value: []byte("bench/1")}},
			Body:    body,
		}, topic)
		r.Partition = int32(i % 6)
		size = len(r.Key) + len(r.Value)
		for _, h := range r.Headers {
			size += len(h.Key) + len(h.Value)
		}
		cl.Produce(context.Background(), r, func(_ *kgo.Record, err error) {
			if err != nil {
				failed <- err
			}
		})
	}
	if err := cl.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	if len(failed) > 0 {
		b.Fatal(<-failed)
	}
	b.ReportAllocs()
	for b.Loop() {
		r := start(b, c, vfs.NewMem(), func(o *follow.Options) { o.Logger = nil })
		eventually(b, func() error {
			if !r.CaughtUp() {
				return fmt.Errorf("%+v", r.Stats())
			}
			return nil
		})
		r.stop()
	}
	b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(size), "bytes/record")
}
