// Package config owns the file format of hooklog: it reads a configuration,
// says everything that is wrong with it, each with its place in the file and
// what to do about it, and turns it into the options of the relay and the
// consumer groups.
//
// Load is pure. What it needs of the world outside the text comes in as an
// Env; it opens no socket and writes nothing. Config.Open, which makes what
// the routes send to, is the one step that does.
//
// Secrets come from the text, from ${VAR} or from file:PATH. None ever reaches
// a Problem, and what holds one prints as REDACTED or not at all.
//
// The path of a file: yaml.go makes nodes of the text, decode.go and value.go
// fill the structs of document.go from them, and build.go checks these and makes
// the options, with kafka.go, source.go and group.go for their parts.
package config

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"hooklog/consumers"
	"hooklog/relay"
)

// Env is what Load asks of the world outside the text.
type Env struct {
	// Getenv returns an environment variable and whether it is set, as
	// os.LookupEnv; nil means that none is.
	Getenv func(name string) (string, bool)
	// ReadFile reads a file that a value refers to, as os.ReadFile; nil means
	// that there is none.
	ReadFile func(path string) ([]byte, error)
	// Now is the clock by which secrets have expired; nil means time.Now.
	Now func() time.Time
	// Handlers are the Go handlers that a route may name.
	Handlers map[string]NewHandler
	// Flags override the file.
	Flags Flags
}

// NewHandler makes a Go handler. data is the data folder. A handler that is an
// io.Closer is closed after its groups have ended.
type NewHandler = func(data string) (consumers.Handler, error)

// Flags are addresses and folders given on the command line; empty means not
// given.
type Flags struct {
	Listen, Admin, Data string
	// Kafka is the address of the embedded broker.
	Kafka string
}

// Config is a configuration without mistakes. Secrets in it are held where
// printing does not reach: in closures of Verifiers and of Client's options.
type Config struct {
	// File is the name that Load was given.
	File string
	// Listen and Admin are the addresses of the relay and of the private
	// listener; Data is the folder for everything that is kept.
	Listen, Admin, Data string
	Kafka               Kafka
	// Sources and Groups are in the order of the file.
	Sources []Source
	Limits  relay.Limits
	// Window is how long an event's ID is remembered.
	Window time.Duration
	// SpoolBytes bounds the spool.
	SpoolBytes int64
	Groups     []Group

	handlers map[string]NewHandler
}

// Kafka is the log.
type Kafka struct {
	// Brokers are the addresses to start from. With an embedded broker it is
	// that one's.
	Brokers []string
	// Embedded is the address at which the embedded broker listens; empty if
	// there is none.
	Embedded string
	// Topic is where sources write and groups read that name no other.
	Topic       string
	Topics      relay.TopicSettings
	Compression kgo.CompressionCodec
	// Client says how to reach the brokers: addresses, TLS, SASL, client ID.
	Client []kgo.Opt
}

// Source is one sender.
type Source struct {
	relay.Source
	// Preset is the name of the preset; empty for hmac and unverified ones.
	// The relay.Source's Verifier also signs, for test traffic.
	Preset string
	// Path is where the relay takes its requests, /hooks/<name>.
	Path string
	// Address is what to enter at the provider: the public URL, or the
	// relay's own address where none is configured.
	Address string
}

// Group is one consumer group.
type Group struct {
	Name string
	// Options lack Logger and Registerer, and their Routes the handlers and
	// sinks: Config.Open makes those.
	Options consumers.Options
	// Targets say where each of the Routes sends to.
	Targets []Target
}

// RelayOptions returns the options of the relay, less Logger and Registerer.
func (c *Config) RelayOptions() relay.Options {
	sources := make([]relay.Source, len(c.Sources))
	for i := range c.Sources {
		sources[i] = c.Sources[i].Source
	}
	return relay.Options{
		Listen:      c.Listen,
		Sources:     sources,
		Limits:      c.Limits,
		Dir:         filepath.Join(c.Data, "index"),
		Window:      c.Window,
		SpoolDir:    filepath.Join(c.Data, "spool"),
		SpoolBytes:  c.SpoolBytes,
		Client:      c.Kafka.Client,
		Topics:      c.Kafka.Topics,
		Compression: c.Kafka.Compression,
	}
}

// String returns a summary without secrets.
func (c *Config) String() string {
	return fmt.Sprintf("config %s: listen %s, admin %s, data %s, %v, %d sources, %d groups",
		c.File, c.Listen, c.Admin, c.Data, c.Kafka, len(c.Sources), len(c.Groups))
}

// LogValue returns the summary.
func (c *Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// String returns a summary without secrets.
func (k Kafka) String() string { return fmt.Sprintf("kafka %v topic %s", k.Brokers, k.Topic) }

// LogValue returns the summary.
func (k Kafka) LogValue() slog.Value { return slog.StringValue(k.String()) }
