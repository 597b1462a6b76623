package relay

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"hooklog/relay/signature"
	"hooklog/schemas"
)

// Outage says what a source's requests get while the log cannot be written.
type Outage uint8

const (
	// OutageReject answers 503 with Retry-After: the provider keeps the event
	// and sends it again.
	OutageReject Outage = iota
	// OutageSpool keeps the event on disk, answers 200 and writes it to the log
	// when that can be written again: for providers that do not send again.
	OutageSpool
)

// Source is one sender, as the relay needs it. It is immutable once New has
// taken it.
type Source struct {
	// Name is the last part of the address, /hooks/<name>.
	Name schemas.SourceName
	// Verifier judges each request; nil only if Unverified.
	Verifier *signature.Verifier
	// Unverified must be said aloud: requests are taken as they come, and
	// their records say so.
	Unverified bool
	// ID, Type and Time say where the event's ID, type and time stand. Where
	// they find nothing: a hash of the body, "unknown", the receive time.
	ID, Type, Time schemas.Extractor
	// URL is the public URL for schemes that sign it.
	URL string
	// MaxBody is the largest body, in bytes; zero means DefaultMaxBody.
	MaxBody int
	// Deadline is when a request is answered at the latest, counted from its
	// last byte; zero means DefaultDeadline.
	Deadline time.Duration
	Outage   Outage
	// Window is how long the source's event IDs are remembered; zero means
	// Options.Window.
	Window time.Duration
	// Topic is where the source's events go.
	Topic string
	// Response replaces the default answer to accepted and duplicate events.
	Response *Response
}

// Response is a fixed answer for providers that expect one.
type Response struct {
	// Status is 2xx; zero means 200.
	Status      int
	ContentType string
	Body        string
}

// Defaults of Source and Limits. Each has its reason beside it.
const (
	DefaultMaxBody  = 1 << 20                 // GitHub's largest is 25 MiB, nearly all others stay below 256 KiB
	DefaultDeadline = 2500 * time.Millisecond // below the 3 s of Slack, Zoom, X and Discord

	DefaultConnections   = 10_000
	DefaultInFlight      = 4096      // 128 connections' worth 32 times over; 4 MiB of claims
	DefaultInFlightBytes = 256 << 20 // 4096 bodies of 64 KiB
	DefaultHeaderBytes   = 64 << 10
	DefaultReadTimeout   = 10 * time.Second
	DefaultIdleTimeout   = 60 * time.Second
)

// Limits bound what senders can make the relay hold. A zero field means its
// default.
type Limits struct {
	Connections   int
	InFlight      int // requests between their last byte and their answer
	InFlightBytes int // bytes of their bodies and headers, and of bodies that are arriving
	HeaderBytes   int
	ReadTimeout   time.Duration // for a whole request
	IdleTimeout   time.Duration
}

// Options are what a Server needs.
type Options struct {
	// Listen is the address of the ingress, host:port.
	Listen  string
	Sources []Source
	Limits  Limits
	// Dir is where the index lives; it is made if needed. Losing it loses no
	// event.
	Dir string
	// SpoolDir is where events are kept that could not be written to the log
	// when they were acknowledged; it is made if a source spools. Losing it
	// loses events.
	SpoolDir string
	// SpoolBytes bounds the spool; zero means 1 GiB.
	SpoolBytes int64
	// Window is how long an event's ID is remembered where its source does not
	// say; zero means 30 days.
	Window time.Duration
	// Client says how to reach the brokers: seeds, TLS, SASL.
	Client []kgo.Opt
	Topics TopicSettings
	// Compression of produced batches; the zero value is none.
	Compression kgo.CompressionCodec
	// Registerer takes the metrics; nil means that nobody reads them.
	Registerer prometheus.Registerer
	Logger     *slog.Logger
}

// TopicSettings are used when the relay makes a topic, and compared with the
// topics it finds.
type TopicSettings struct {
	Partitions  int32         // zero means 6
	Replication int16         // zero means 1
	Retention   time.Duration // zero means for ever
}
