package broker_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"hooklog/cmd/internal/broker"
)

// The test binary is also the process that the tests kill.
const (
	childDir    = "BROKER_TEST_DIR"
	childListen = "BROKER_TEST_LISTEN"
	childLimit  = "BROKER_TEST_FILE_LIMIT"
	childExpire = "BROKER_TEST_EXPIRE" // run retention all the time
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		runChild(dir)
	}
	goleak.VerifyTestMain(m)
}

// runChild serves until it is killed, and says its address on stdout.
func runChild(dir string) {
	if n, err := strconv.ParseUint(os.Getenv(childLimit), 10, 64); err == nil {
		signal.Ignore(syscall.SIGXFSZ)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
	}
	b, err := broker.Start(broker.Options{Listen: os.Getenv(childListen), Dir: dir, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println(b.Addr())
	for os.Getenv(childExpire) != "" {
		b.RemoveExpired()
	}
	select {}
}

// A child is a broker in a process of its own.
type child struct {
	cmd  *exec.Cmd
	addr string
}

func startChild(t *testing.T, dir, listen string, env ...string) *child {
	t.Helper()
	c, err := tryChild(t, dir, listen, env...)
	if err != nil {
		t.Fatalf("start a broker process on %s: %v", dir, err)
	}
	return c
}

func tryChild(t *testing.T, dir, listen string, env ...string) (*child, error) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir, childListen+"="+listen)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stderr = testWriter{t}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{cmd: cmd}
	t.Cleanup(c.kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("read its address: %w", err)
	}
	c.addr = strings.TrimSpace(line)
	if text, ok := strings.CutPrefix(c.addr, "error: "); ok {
		return nil, errors.New(text)
	}
	return c, nil
}

// kill is kill -9.
func (c *child) kill() {
	if c.cmd.ProcessState == nil {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("broker process: %s", bytes.TrimSpace(p))
	return len(p), nil
}

// start runs a broker in this process until the test ends.
func start(t *testing.T, dir string) *broker.Broker {
	t.Helper()
	b, err := broker.Start(broker.Options{Listen: "127.0.0.1:0", Dir: dir, Logger: slog.New(slog.NewTextHandler(testWriter{t}, nil))})
	if err != nil {
		t.Fatalf("Start(%s): %v", dir, err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func closeBroker(t *testing.T, b *broker.Broker) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

// client returns a client that gives up soon, so that a failure says why.
func client(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(addr),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerLinger(0),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
		kgo.MetadataMinAge(20 * time.Millisecond),
		kgo.Dialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
			d := net.Dialer{Timeout: 5 * time.Second}
			return d.DialContext(ctx, network, addr)
		}),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func withDeadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func createTopic(t *testing.T, cl *kgo.Client, partitions int32, topic string, configs map[string]string) {
	t.Helper()
	cfg := make(map[string]*string)
	for k, v := range configs {
		cfg[k] = &v
	}
	if _, err := kadm.NewClient(cl).CreateTopic(withDeadline(t), partitions, 1, cfg, topic); err != nil {
		t.Fatalf("create topic %s: %v", topic, err)
	}
}

func produce(t *testing.T, cl *kgo.Client, topic string, partition int32, values ...string) {
	t.Helper()
	for _, v := range values {
		r := &kgo.Record{Topic: topic, Partition: partition, Value: []byte(v)}
		if err := cl.ProduceSync(withDeadline(t), r).FirstErr(); err != nil {
			t.Fatalf("produce %q to %s/%d: %v", v, topic, partition, err)
		}
	}
}

// records reads a topic from its start to its end, by partition.
func records(t *testing.T, addr, topic string, opts ...kgo.Opt) map[int32][]*kgo.Record {
	t.Helper()
	ctx := withDeadline(t)
	cl := client(t, addr, append([]kgo.Opt{kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords()}, opts...)...)
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	starts, err := kadm.NewClient(cl).ListStartOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	missing := 0
	ends.Each(func(o kadm.ListedOffset) {
		if s, _ := starts.Lookup(topic, o.Partition); o.Offset > s.Offset {
			missing++
		}
	})
	out := make(map[int32][]*kgo.Record)
	for missing > 0 {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			t.Fatalf("read %s: %v; so far %d partitions are not at their end", topic, err, missing)
		}
		fs.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				out[r.Partition] = append(out[r.Partition], r)
			}
			if end, _ := ends.Lookup(topic, r.Partition); r.Offset == end.Offset-1 {
				missing--
			}
		})
	}
	return out
}

func values(rs []*kgo.Record) string {
	var vs []string
	for _, r := range rs {
		vs = append(vs, string(r.Value))
	}
	return strings.Join(vs, " ")
}

func committed(t *testing.T, cl *kgo.Client, group, topic string) map[int32]int64 {
	t.Helper()
	os, err := kadm.NewClient(cl).FetchOffsets(withDeadline(t), group)
	if err != nil {
		t.Fatalf("fetch offsets of %s: %v", group, err)
	}
	out := make(map[int32]int64)
	os.Each(func(o kadm.OffsetResponse) {
		if o.Topic == topic {
			out[o.Partition] = o.At
		}
	})
	return out
}

func commit(t *testing.T, cl *kgo.Client, group, topic string, at map[int32]int64) {
	t.Helper()
	var os kadm.Offsets
	for p, o := range at {
		os.Add(kadm.Offset{Topic: topic, Partition: p, At: o, LeaderEpoch: -1})
	}
	if err := kadm.NewClient(cl).CommitAllOffsets(withDeadline(t), group, os); err != nil {
		t.Fatalf("commit offsets of %s: %v", group, err)
	}
}

// logs collects log lines.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func deleteTopic(t *testing.T, cl *kgo.Client, topic string) {
	t.Helper()
	if _, err := kadm.NewClient(cl).DeleteTopic(withDeadline(t), topic); err != nil {
		t.Fatalf("delete topic %s: %v", topic, err)
	}
}
