package broker_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"hooklog/cmd/internal/broker"
)

func TestDataSurvivesCloseAndStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "on the way")
	b := start(t, dir)
	cl := client(t, b.Addr())
	createTopic(t, cl, 2, "webhooks", nil)
	produce(t, cl, "webhooks", 0, "a", "b")
	produce(t, cl, "webhooks", 1, "c")
	commit(t, cl, "group", "webhooks", map[int32]int64{0: 2, 1: 1})
	cl.Close()
	closeBroker(t, b)
	closeBroker(t, b) // Once more does nothing.

	b = start(t, dir)
	cl = client(t, b.Addr())
	if diff := cmp.Diff(map[int32]int64{0: 2, 1: 1}, committed(t, cl, "group", "webhooks")); diff != "" {
		t.Errorf("committed offsets (-want +got):\n%s", diff)
	}
	produce(t, cl, "webhooks", 0, "d")
	got := records(t, b.Addr(), "webhooks")
	if values(got[0]) != "a b d" || values(got[1]) != "c" {
		t.Errorf("records %q and %q, want %q and %q", values(got[0]), values(got[1]), "a b d", "c")
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode of the data directory: %v, %v; want 0700", info.Mode(), err)
	}
}

func TestGroupGoesOnAfterRestart(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	addr := b.Addr()
	cl := client(t, addr)
	createTopic(t, cl, 1, "webhooks", nil)
	produce(t, cl, "webhooks", 0, "a", "b")
	member := client(t, addr, kgo.ConsumerGroup("group"), kgo.ConsumeTopics("webhooks"), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(100*time.Millisecond))
	if got := poll(t, member, 2); got != "a b" {
		t.Fatalf("before the restart: %q, want %q", got, "a b")
	}
	if err := member.CommitUncommittedOffsets(withDeadline(t)); err != nil {
		t.Fatal(err)
	}
	closeBroker(t, b)
	b, err := broker.Start(broker.Options{Listen: addr, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	produce(t, cl, "webhooks", 0, "c")
	if got := poll(t, member, 1); got != "c" {
		t.Errorf("after the restart: %q, want %q", got, "c")
	}
}

func poll(t *testing.T, cl *kgo.Client, n int) string {
	t.Helper()
	ctx := withDeadline(t)
	var rs []*kgo.Record
	for len(rs) < n {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%d of %d records until the deadline: %q", len(rs), n, values(rs))
		}
		rs = append(rs, fs.Records()...)
	}
	return values(rs)
}

func TestPortIsTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dir := t.TempDir()
	_, err = broker.Start(broker.Options{Listen: ln.Addr().String(), Dir: dir})
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), ln.Addr().String()) {
		t.Errorf("Start on a taken port = %v, want EADDRINUSE that names %s", err, ln.Addr())
	}
	start(t, dir) // The directory is free again.
}

func TestDirectoryIsInUse(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	_, err := broker.Start(broker.Options{Listen: "127.0.0.1:0", Dir: dir})
	if !errors.Is(err, broker.ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("second Start = %v, want ErrInUse that names %s", err, dir)
	}
	if _, err := tryChild(t, dir, "127.0.0.1:0"); err == nil || !strings.Contains(err.Error(), broker.ErrInUse.Error()) {
		t.Errorf("Start in another process = %v, want %v", err, broker.ErrInUse)
	}
	closeBroker(t, b)
	start(t, dir)
}

func TestStartRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(o broker.Options, want string) {
		t.Helper()
		b, err := broker.Start(o)
		if err == nil {
			b.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Start(%+v) = %v, want an error with %q", o, err, want)
		}
	}
	f(broker.Options{Listen: "127.0.0.1:0"}, "no data directory")
	f(broker.Options{Listen: "127.0.0.1:0", Dir: file}, file)
	f(broker.Options{Listen: "127.0.0.1:0", Dir: filepath.Join(file, "sub")}, file)
	f(broker.Options{Listen: "nowhere", Dir: t.TempDir()}, "nowhere")
	f(broker.Options{Listen: "0.0.0.0:0", Dir: t.TempDir()}, "advertise")
	f(broker.Options{Listen: "127.0.0.1:0", Advertise: "kafka", Dir: t.TempDir()}, `"kafka"`)
	f(broker.Options{Listen: "127.0.0.1:0", Advertise: "kafka:x", Dir: t.TempDir()}, `"kafka:x"`)
	f(broker.Options{Listen: "127.0.0.1:0", Advertise: ":1", Dir: t.TempDir()}, `":1"`)
}

func TestAdvertisedAddress(t *testing.T) {
	f := func(listen, advertise, wantHost string, wantPort func(listening int32) int32) {
		t.Helper()
		b, err := broker.Start(broker.Options{Listen: listen, Advertise: advertise, Dir: t.TempDir()})
		if err != nil {
			t.Errorf("Start on %s: %v", listen, err)
			return
		}
		defer b.Close()
		_, port, err := net.SplitHostPort(b.Addr())
		if err != nil {
			t.Fatal(err)
		}
		cl := client(t, "127.0.0.1:"+port)
		defer cl.Close()
		req := kmsg.NewPtrMetadataRequest()
		resp, err := req.RequestWith(withDeadline(t), cl)
		if err != nil || len(resp.Brokers) != 1 {
			t.Fatalf("metadata of %s: %+v, %v", listen, resp, err)
		}
		got := resp.Brokers[0]
		if want := wantPort(int32(tcpPort(t, port))); got.Host != wantHost || got.Port != want {
			t.Errorf("listen %q, advertise %q: clients are told %s:%d, want %s:%d", listen, advertise, got.Host, got.Port, wantHost, want)
		}
	}
	same := func(p int32) int32 { return p }
	f("127.0.0.1:0", "", "127.0.0.1", same)
	f("localhost:0", "", "127.0.0.1", same)
	f("0.0.0.0:0", "kafka.example.com:0", "kafka.example.com", same)
	f(":0", "kafka.example.com:9092", "kafka.example.com", func(int32) int32 { return 9092 })
}

func tcpPort(t *testing.T, s string) int {
	t.Helper()
	p, err := net.LookupPort("tcp", s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Whatever connects, the process goes on.
func TestWhatIsNotKafkaIsCutOff(t *testing.T) {
	b := start(t, t.TempDir())
	request := func(size uint32, key int16, rest ...byte) string {
		m := binary.BigEndian.AppendUint32(nil, size)
		return string(append(binary.BigEndian.AppendUint16(m, uint16(key)), rest...))
	}
	for name, sent := range map[string]string{
		"HTTP":              "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"TLS":               "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"zeros":             strings.Repeat("\x00", 64),
		"too large":         request(100<<20+1, 3, 0, 0),
		"negative size":     request(0xffffffff, 3, 0, 0),
		"size 1":            request(1, 3, 0, 0, 0, 0, 0, 0, 0, 0),
		"too small":         request(7, 3, 0, 0, 0, 0, 0),
		"unknown key":       request(8, 32000, 0, 0, 0, 0, 0, 1),
		"negative key":      request(8, -2, 0, 0, 0, 0, 0, 1),
		"key that is unset": request(8, 93, 0, 0, 0, 0, 0, 1),
	} {
		c, err := net.Dial("tcp", b.Addr())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := io.WriteString(c, sent); err != nil {
			t.Errorf("%s: write: %v", name, err)
		}
		if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		var timeout net.Error
		if n, err := io.Copy(io.Discard, c); n > 0 || errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("%s: %d bytes and %v, want the connection cut", name, n, err)
		}
		c.Close()
	}
	if err := client(t, b.Addr()).Ping(withDeadline(t)); err != nil {
		t.Errorf("ping after all that: %v", err)
	}
}

func TestTopicsAreNotMadeByThemselves(t *testing.T) {
	b := start(t, t.TempDir())
	cl := client(t, b.Addr(), kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(2))
	err := cl.ProduceSync(withDeadline(t), &kgo.Record{Topic: "typo", Value: []byte("x")}).FirstErr()
	if !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("produce to a topic that nobody made = %v, want UNKNOWN_TOPIC_OR_PARTITION", err)
	}
}

func TestLargeBodies(t *testing.T) {
	b := start(t, t.TempDir())
	cl := client(t, b.Addr(), kgo.ProducerBatchMaxBytes(64<<20), kgo.BrokerMaxWriteBytes(100<<20), kgo.FetchMaxBytes(100<<20), kgo.BrokerMaxReadBytes(200<<20))
	createTopic(t, cl, 1, "unset", nil)
	createTopic(t, cl, 1, "small", map[string]string{"max.message.bytes": "1000"})
	createTopic(t, cl, 1, "large", map[string]string{"max.message.bytes": "27262976"})
	body := bytes.Repeat([]byte("x"), 25<<20)
	for _, topic := range []string{"unset", "large"} {
		if err := cl.ProduceSync(withDeadline(t), &kgo.Record{Topic: topic, Value: body}).FirstErr(); err != nil {
			t.Errorf("25 MiB to %s: %v", topic, err)
		}
	}
	for topic, size := range map[string]int{"small": 1001, "large": 27262977} {
		err := cl.ProduceSync(withDeadline(t), &kgo.Record{Topic: topic, Value: bytes.Repeat([]byte("x"), size)}).FirstErr()
		if !errors.Is(err, kerr.MessageTooLarge) {
			t.Errorf("%d bytes to %s = %v, want MESSAGE_TOO_LARGE", size, topic, err)
		}
	}
	got := records(t, b.Addr(), "large", kgo.FetchMaxBytes(100<<20), kgo.BrokerMaxReadBytes(200<<20))
	if len(got[0]) != 1 || !bytes.Equal(got[0][0].Value, body) {
		t.Errorf("%d records read back, want one of 25 MiB", len(got[0]))
	}
}

func TestRetention(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	cl := client(t, b.Addr())
	createTopic(t, cl, 1, "unset", nil)
	createTopic(t, cl, 1, "forever", map[string]string{"retention.ms": "-1"})
	createTopic(t, cl, 1, "minute", map[string]string{"retention.ms": "60000"})
	old := time.Now().Add(-30 * 24 * time.Hour)
	for _, topic := range []string{"unset", "forever", "minute"} {
		for _, v := range []string{"a", "b"} {
			if err := cl.ProduceSync(withDeadline(t), &kgo.Record{Topic: topic, Value: []byte(v), Timestamp: old}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.RemoveExpired()
	for topic, want := range map[string]string{"unset": "a b", "forever": "a b", "minute": ""} {
		if got := values(records(t, b.Addr(), topic)[0]); got != want {
			t.Errorf("topic %s after retention: %q, want %q", topic, got, want)
		}
	}
	cl.Close()
	// The removed offsets are not given out again, whichever way it stops.
	closeBroker(t, b)
	child := startChild(t, dir, "127.0.0.1:0")
	cl = client(t, child.addr)
	produce(t, cl, "minute", 0, "c")
	cl.Close()
	child.kill()
	b = start(t, dir)
	if got := records(t, b.Addr(), "minute")[0]; len(got) != 1 || got[0].Offset != 2 {
		t.Fatalf("records after two starts: %v, want one at offset 2", got)
	}
}

func TestRetentionThenKill(t *testing.T) {
	dir := t.TempDir()
	c := startChild(t, dir, "127.0.0.1:0", childExpire+"=1")
	cl := client(t, c.addr)
	createTopic(t, cl, 1, "minute", map[string]string{"retention.ms": "60000"})
	for range 3 {
		if err := cl.ProduceSync(withDeadline(t), &kgo.Record{Topic: "minute", Value: []byte("x"), Timestamp: time.Now().Add(-time.Hour)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		saved, err := os.ReadFile(filepath.Join(dir, "floors.json"))
		if err == nil && segments(t, dir, "minute-0") == 0 && strings.Contains(string(saved), `{"0":3}`) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("expired records are still there, or their end was not saved: %q, %v", saved, err)
		}
		if err := cl.Ping(withDeadline(t)); err != nil {
			t.Fatal(err)
		}
	}
	cl.Close()
	c.kill()
	b := start(t, dir)
	cl = client(t, b.Addr())
	produce(t, cl, "minute", 0, "new")
	if got := records(t, b.Addr(), "minute")[0]; len(got) != 1 || got[0].Offset != 3 {
		t.Errorf("records after retention and a kill: %d, want one at offset 3: %+v", len(got), got)
	}
}

// A restart alone lets expired records go, without anybody making a topic.
func TestRetentionAfterRestart(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	cl := client(t, b.Addr())
	createTopic(t, cl, 1, "minute", map[string]string{"retention.ms": "60000"})
	if err := cl.ProduceSync(withDeadline(t), &kgo.Record{Topic: "minute", Value: []byte("x"), Timestamp: time.Now().Add(-time.Hour)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	cl.Close()
	closeBroker(t, b)
	b = start(t, dir)
	deadline := time.Now().Add(30 * time.Second)
	for segments(t, dir, "minute-0") > 0 {
		if time.Now().After(deadline) {
			t.Fatal("expired records are still there after a restart")
		}
		if got := records(t, b.Addr(), "minute"); len(got[0]) == 0 {
			break
		}
	}
}

func segments(t *testing.T, dir, partition string) int {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "partitions", partition, "*.dat"))
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// What could not be saved at the end is said: kfake only logs it.
func TestCloseSaysWhatWasNotSaved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	b, err := broker.Start(broker.Options{Listen: "127.0.0.1:0", Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	// In the way of the file that topics are saved through.
	if err := os.Mkdir(filepath.Join(dir, "topics.json.tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.Close(); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("Close = %v, want an error that names %s", err, dir)
		}
	}
}
