package relay_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"hooklog/relay"
)

// fillingDisk is one that somebody else may fill.
type fillingDisk struct {
	vfs.FS
	full atomic.Bool
}

func (d *fillingDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	if d.full.Load() {
		return vfs.DiskUsage{AvailBytes: 1 << 20}, nil
	}
	return vfs.DiskUsage{AvailBytes: 1 << 40}, nil
}

// TestIndexFails: a disk that is full under the index. The relay takes nothing
// more, says why and ends; what it has acknowledged is in the log, and the next
// one knows it.
func TestIndexFails(t *testing.T) {
	t.Parallel()
	k := startKafka(t)
	disk := &fillingDisk{FS: vfs.NewMem()}
	r := newRelay(t, k, func(o *relay.Options) { o.Dir = "index" })
	r.OnDisk(disk)
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { ended <- r.Run(ctx) }()
	r.awaitReady(t)
	p := &promises{places: make(map[string]string)}
	for i := range 50 {
		p.insist(t, r, fmt.Sprint("msg_", i))
	}
	disk.full.Store(true)
	next := 50
	deadline := time.Now().Add(30 * time.Second)
	for {
		a, err := r.try(request(t, demoSource(t), fmt.Sprint("msg_", next), bodyOf(1)))
		if err != nil {
			break // It has ended.
		}
		switch {
		case a.status == 200:
			p.places[fmt.Sprint("msg_", next)] = a.place(t)
			next++
		case a.status != 503:
			t.Errorf("msg_%d: %v, want 200 or 503", next, a)
		}
		if time.Now().After(deadline) {
			t.Fatal("it goes on with an index that cannot be written")
		}
	}
	select {
	case err := <-ended:
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("Run = %v, want an error that says that the disk is full", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("Run did not end")
	}

	again := newRelay(t, k, func(o *relay.Options) { o.Dir = "index" })
	disk.full.Store(false)
	again.OnDisk(disk)
	again.run(t)
	again.awaitReady(t)
	checkDuplicates(t, k, again, p.places)
}
