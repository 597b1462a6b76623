package broker_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"hooklog/cmd/internal/broker"
)

// BenchmarkProduce is what a relay gets: records of 1 KiB, acks from all, in
// flight at the same time, each waiting for its own answer.
func BenchmarkProduce(b *testing.B) {
	for _, partitions := range []int{1, 6} {
		for _, inFlight := range []int{1, 64, 1024} {
			b.Run(fmt.Sprintf("partitions=%d/in-flight=%d", partitions, inFlight), func(b *testing.B) {
				benchProduce(b, partitions, inFlight)
			})
		}
	}
}

func benchProduce(b *testing.B, partitions, inFlight int) {
	br, err := broker.Start(broker.Options{Listen: "127.0.0.1:0", Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer br.Close()
	cl, err := kgo.NewClient(kgo.SeedBrokers(br.Addr()), kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		b.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(b.Context(), int32(partitions), 1, nil, "webhooks"); err != nil {
		b.Fatal(err)
	}
	body := bytes.Repeat([]byte("x"), 1<<10)
	b.SetBytes(int64(len(body)))
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range inFlight {
		wg.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(b.N) {
					return
				}
				r := &kgo.Record{Topic: "webhooks", Partition: int32(i) % int32(partitions), Value: body}
				if err := cl.ProduceSync(b.Context(), r).FirstErr(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkFsync is what the disk itself needs for a batch of 1 KiB.
func BenchmarkFsync(b *testing.B) {
	f, err := os.OpenFile(filepath.Join(b.TempDir(), "f"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	body := bytes.Repeat([]byte("x"), 1<<10)
	for b.Loop() {
		if _, err := f.Write(body); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
}
