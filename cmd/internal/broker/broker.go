package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Options say where a Broker listens and where it keeps its log.
type Options struct {
	// Listen is the address to serve at, host:port; port 0 takes a free one.
	Listen string
	// Advertise is the address that clients are told to connect to, host:port
	// where port 0 means the one listened on. Empty means the address listened
	// on; it must be given where that is no address to connect to, such as
	// 0.0.0.0.
	Advertise string
	// Dir is the data directory. It is made if needed, readable by its owner
	// only, and belongs to one Broker at a time.
	Dir string
	// Logger gets what the broker has to say; nil discards it.
	Logger *slog.Logger
}

const (
	// maxRequestBytes bounds one request (Kafka's socket.request.max.bytes).
	maxRequestBytes = 100 << 20
	// maxBatchBytes is for topics without a max.message.bytes of their own: the
	// most that fits a request. The largest body of a provider is 25 MiB.
	maxBatchBytes = maxRequestBytes - 64<<10
	// segmentBytes bounds what start-up holds in memory for each partition,
	// since kfake reads a segment of each at the same time.
	segmentBytes = 16 << 20
	// maxSessionTimeout is Kafka's own default; kfake's is 5 minutes.
	maxSessionTimeout = 30 * time.Minute
	never             = "3155760000000" // 100 years in milliseconds; kfake's arithmetic ends at 292
)

func configs() map[string]string {
	return map[string]string{
		"message.max.bytes": strconv.Itoa(maxBatchBytes),
		"log.segment.bytes": strconv.Itoa(segmentBytes),
		// A topic that says nothing keeps everything. Kafka's 7 days would end
		// the history of a topic that another program made.
		"log.retention.ms": "-1",
		// A machine that was off for a week must not forget where its groups
		// were.
		"offset.retention.ms": never,
		// kfake would compact and expire by its own clock, but only until a
		// restart. See keepRetention.
		"log.cleaner.backoff.ms": never,
	}
}

// A Broker is a running embedded Kafka. Its methods are safe for concurrent
// use.
type Broker struct {
	addr    string
	dir     string
	cluster *kfake.Cluster
	log     *logger
	lock    *os.File

	stopRetention chan struct{}
	retentionDone chan struct{}

	expiry sync.Mutex // one removal at a time
	floors []byte     // as last saved

	close    sync.Once
	closeErr error
}

// Start opens the directory and serves until Close. It returns once clients
// can connect; it reads the whole log first, to find damage. The error of a
// port that is taken is syscall.EADDRINUSE, that of a directory in use
// ErrInUse, that of a damaged one ErrDamaged.
func Start(o Options) (_ *Broker, err error) {
	if o.Dir == "" {
		return nil, errors.New("start embedded Kafka: no data directory")
	}
	log := newLogger(o.Logger)
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("start embedded Kafka: make data directory: %w", err)
	}
	lock, err := lockDir(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("start embedded Kafka: %w", err)
	}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	ln, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("start embedded Kafka: listen on %s: %w", o.Listen, err)
	}
	defer func() {
		if err != nil {
			ln.Close()
		}
	}()
	advertised, err := advertise(o.Advertise, ln.Addr().(*net.TCPAddr))
	if err != nil {
		return nil, fmt.Errorf("start embedded Kafka: %w", err)
	}
	if err := recoverDir(o.Dir, log.Logger); err != nil {
		return nil, fmt.Errorf("start embedded Kafka from %s: %w", o.Dir, err)
	}
	cluster, err := kfake.NewCluster(
		kfake.NumBrokers(1),
		kfake.ClusterID("hooklog"),
		kfake.ListenFn(func(string, string) (net.Listener, error) {
			return &guardedListener{Listener: ln, advertised: advertised, log: log.Logger}, nil
		}),
		kfake.DataDir(o.Dir),
		kfake.SyncWrites(),
		kfake.GroupMaxSessionTimeout(maxSessionTimeout),
		kfake.BrokerConfigs(configs()),
		kfake.WithLogger(log),
	)
	if err != nil {
		return nil, fmt.Errorf("start embedded Kafka from %s: %w", o.Dir, err)
	}
	b := &Broker{
		addr:          ln.Addr().String(),
		dir:           o.Dir,
		cluster:       cluster,
		log:           log,
		lock:          lock,
		stopRetention: make(chan struct{}),
		retentionDone: make(chan struct{}),
	}
	go b.keepRetention()
	log.Info("embedded Kafka is up: one node without replication", "addr", b.addr, "advertised", advertised.String(), "dir", o.Dir)
	if !ln.Addr().(*net.TCPAddr).IP.IsLoopback() {
		log.Warn("embedded Kafka has no authentication and listens on more than this machine", "addr", b.addr)
	}
	return b, nil
}

// Addr is the address listened on, host:port.
func (b *Broker) Addr() string { return b.addr }

// Close stops serving, saves what only a clean stop saves and gives the
// directory free. Connections are cut; requests that were not answered may or
// may not have been done. It waits for the disk. All calls return the first
// one's error.
func (b *Broker) Close() error {
	b.close.Do(func() {
		close(b.stopRetention)
		<-b.retentionDone
		b.log.collectErrors()
		b.cluster.Close()
		err := b.log.errors()
		if err == nil {
			err = markClean(b.dir)
		}
		if err != nil {
			b.closeErr = fmt.Errorf("close embedded Kafka in %s: %w", b.dir, err)
		}
		b.lock.Close()
	})
	return b.closeErr
}

// advertise returns the address to tell clients.
func advertise(wanted string, listening *net.TCPAddr) (net.Addr, error) {
	if wanted == "" {
		if listening.IP.IsUnspecified() {
			return nil, fmt.Errorf("clients cannot connect to %s: advertise an address that they can reach", listening)
		}
		return listening, nil
	}
	host, port, err := net.SplitHostPort(wanted)
	if err != nil {
		return nil, fmt.Errorf("advertise %q: %w", wanted, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || host == "" {
		return nil, fmt.Errorf("advertise %q: want host:port", wanted)
	}
	if n == 0 {
		port = strconv.Itoa(listening.Port)
	}
	return textAddr(net.JoinHostPort(host, port)), nil
}

// textAddr is an address that need not resolve here.
type textAddr string

func (textAddr) Network() string  { return "tcp" }
func (a textAddr) String() string { return string(a) }

// markClean notes that the last stop was a clean one. Recovery treats a
// directory without the mark as one whose process was killed.
func markClean(dir string) error {
	return writeFile(filepath.Join(dir, cleanName), []byte("stopped cleanly\n"))
}
