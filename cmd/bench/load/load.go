// Package load sends signed webhooks over HTTP/1.1 as fast as they are
// answered, and measures the answers.
//
// It is a closed loop: each connection sends its next request when it has the
// answer to the last. So the rate is what the server gives, and latencies are
// those at that rate; they say nothing of a provider that does not wait. It
// writes HTTP by hand, because on one machine every cycle of a client is
// missing at the server.
package load

import (
	"context"
	"errors"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Options say where the load goes. All are required.
type Options struct {
	// Address is host:port; it should be on loopback.
	Address string
	Path    string
	// Connections are opened before the clock starts and kept.
	Connections int
	// Timeout bounds one request. A connection that had one is replaced.
	Timeout time.Duration
}

// Result is what came of a run.
type Result struct {
	// Elapsed is from the first request to the last answer.
	Elapsed time.Duration
	// Accepted is the number of answers with status 2xx, Statuses that of all
	// answers by status.
	Accepted int
	Statuses map[int]int
	// Failed is the number of requests without an answer; LastError is one of
	// their errors.
	Failed    int
	LastError error
	// Exhausted says that the batch ended before the time did.
	Exhausted bool
	// latency is that of all answers, in microseconds.
	latency *hdrhistogram.Histogram
}

// Rate returns the accepted events per second.
func (r *Result) Rate() float64 { return float64(r.Accepted) / r.Elapsed.Seconds() }

// Quantile returns the latency that q percent of the answers did not exceed.
func (r *Result) Quantile(q float64) time.Duration {
	return time.Duration(r.latency.ValueAtQuantile(q)) * time.Microsecond
}

// Errors returns how many requests did not end in 2xx.
func (r *Result) Errors() int {
	n := r.Failed - r.Accepted
	for _, count := range r.Statuses {
		n += count
	}
	return n
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, int64(time.Minute/time.Microsecond), 3)
}

// Run sends the batch's events until the duration is over, the batch is used
// up or ctx is done, and returns when all connections are closed. It fails if
// no connection can be opened; errors of single requests are in the Result.
func Run(ctx context.Context, opts Options, batch *Batch, duration time.Duration) (*Result, error) {
	workers := make([]worker, opts.Connections)
	for i := range workers {
		w := &workers[i]
		w.opts, w.batch = &opts, batch
		w.result = Result{Statuses: map[int]int{}, latency: newHistogram()}
		if err := w.dial(ctx); err != nil {
			for j := range i {
				_ = workers[j].conn.Close()
			}
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	var next atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range workers {
		wg.Go(func() { workers[i].run(ctx, &next) })
	}
	wg.Wait()
	total := &Result{Elapsed: time.Since(begin), Statuses: map[int]int{}, latency: newHistogram()}
	total.Exhausted = int(next.Load()) >= batch.Len()
	for i := range workers {
		total.add(&workers[i].result)
	}
	return total, nil
}

func (r *Result) add(s *Result) {
	r.Accepted += s.Accepted
	r.Failed += s.Failed
	if s.LastError != nil {
		r.LastError = s.LastError
	}
	for status, n := range maps.All(s.Statuses) {
		r.Statuses[status] += n
	}
	r.latency.Merge(s.latency)
}

// worker owns one connection.
type worker struct {
	opts   *Options
	batch  *Batch
	conn   net.Conn
	reader answerReader
	buf    []byte
	result Result
}

// redialPause keeps a server that is gone from being asked in a busy loop.
const redialPause = 20 * time.Millisecond

var errNotConnected = errors.New("not connected")

func (w *worker) dial(ctx context.Context) error {
	dialer := net.Dialer{Timeout: w.opts.Timeout}
	conn, err := dialer.DialContext(ctx, "tcp", w.opts.Address)
	if err != nil {
		return err
	}
	w.conn = conn
	w.reader.reset(conn)
	return nil
}

func (w *worker) run(ctx context.Context, next *atomic.Int64) {
	defer func() {
		if w.conn != nil {
			_ = w.conn.Close()
		}
	}()
	for ctx.Err() == nil {
		i := int(next.Add(1)) - 1
		if i >= w.batch.Len() {
			return
		}
		begin := time.Now()
		status, err := w.send(ctx, i, begin)
		if err != nil {
			w.result.Failed++
			w.result.LastError = err
			if w.conn != nil {
				_ = w.conn.Close()
				w.conn = nil
			}
			select {
			case <-ctx.Done():
			case <-time.After(redialPause):
			}
			continue
		}
		_ = w.result.latency.RecordValue(max(1, time.Since(begin).Microseconds()))
		w.result.Statuses[status]++
		if status/100 == 2 {
			w.result.Accepted++
		}
	}
}

// send sends one event and reads its answer, beyond the end of ctx if need be:
// what was begun within the time is counted.
func (w *worker) send(ctx context.Context, i int, now time.Time) (int, error) {
	if w.conn == nil {
		if err := w.dial(ctx); err != nil {
			return 0, errors.Join(errNotConnected, err)
		}
	}
	if err := w.conn.SetDeadline(now.Add(w.opts.Timeout)); err != nil {
		return 0, err
	}
	w.buf = w.batch.append(w.buf[:0], w.opts.Address, w.opts.Path, i)
	if _, err := w.conn.Write(w.buf); err != nil {
		return 0, err
	}
	return w.reader.next()
}
