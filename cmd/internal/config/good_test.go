package config_test

import (
	"context"
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"

	"hooklog/cmd/internal/config"
	"hooklog/cmd/internal/demo"
	"hooklog/consumers"
	"hooklog/consumers/sink/file"
	"hooklog/relay"
)

const devFile = "../../hooklog/dev.yaml"

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// equal reports a difference; what names the input.
func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// TestFull checks that every key arrives where it belongs.
func TestFull(t *testing.T) {
	cfg := load(t, read(t, "testdata/full.good.yaml"))
	equal(t, "addresses", []string{cfg.Listen, cfg.Admin, cfg.Data}, []string{":8088", "localhost:9181", "/var/lib/hooklog"})
	equal(t, "brokers", cfg.Kafka.Brokers, []string{"kafka-1.example.com:9093", "[::1]:9093", "kafka-3.example.com:9093"})
	equal(t, "topics", cfg.Kafka.Topics, relay.TopicSettings{Partitions: 12, Replication: 3, Retention: 365 * 24 * time.Hour})
	equal(t, "embedded, topic", []string{cfg.Kafka.Embedded, cfg.Kafka.Topic}, []string{"", "hooks"})
	if cfg.Kafka.Compression != kgo.ZstdCompression() {
		t.Errorf("compression: got %v, want zstd", cfg.Kafka.Compression)
	}
	equal(t, "window", cfg.Window, 14*24*time.Hour)
	equal(t, "limits", cfg.Limits, relay.Limits{Connections: 100, InFlight: 50, InFlightBytes: 64 << 20, HeaderBytes: 32768, ReadTimeout: 5 * time.Second, IdleTimeout: 90 * time.Second})

	stripe := cfg.Sources[0]
	if stripe.Verifier == nil {
		t.Fatal("stripe has no verifier")
	}
	equal(t, "stripe's secrets", len(stripe.Verifier.SecretIDs()), 2)
	equal(t, "stripe's ID of a secret", stripe.Verifier.SecretIDs()[1], "2026-01")
	equal(t, "stripe's texts", []string{stripe.Preset, stripe.Path, stripe.Address, stripe.URL, stripe.Topic, string(stripe.Name), stripe.ID.String(), stripe.Type.String(), stripe.Time.String()}, []string{
		"stripe", "/hooks/stripe", "https://hooks.example.com/hooks/stripe?a=b", "https://hooks.example.com/hooks/stripe?a=b", "hooks.stripe", "stripe",
		"body:account:body:id", "header:X-Kind.body:type", "body:created",
	})
	equal(t, "stripe's response", stripe.Response, &relay.Response{Status: 202, ContentType: "text/plain", Body: "ok 8088 ${PORT}"})
	equal(t, "stripe's bounds", []any{stripe.MaxBody, stripe.Deadline, stripe.Unverified, stripe.Window}, []any{2 << 20, 5 * time.Second, false, 90 * 24 * time.Hour})

	acme := cfg.Sources[1]
	equal(t, "acme's window, which is that of all", acme.Window, 14*24*time.Hour)
	equal(t, "acme.v2", []any{acme.Preset, acme.Verifier.Scheme(), acme.Topic, acme.Address, acme.MaxBody, acme.Deadline, acme.Response, acme.Type.IsZero()}, []any{
		"", "hmac", "hooks", "http://:8088/hooks/acme.v2", relay.DefaultMaxBody, relay.DefaultDeadline, (*relay.Response)(nil), true,
	})

	orders := cfg.Groups[0]
	equal(t, "orders", []any{
		orders.Name, orders.Options.Group, orders.Options.Topics, orders.Options.Start.Time.Format(time.RFC3339), orders.Options.OnLostOffset, orders.Options.Retry,
		orders.Options.Timeout, orders.Options.MaxInFlight, orders.Options.DeadLetter, orders.Options.DeadLetterReplication, filepath.ToSlash(orders.Options.Dir),
	}, []any{
		"orders", "orders",
		[]string{"hooks", "hooks.stripe"},
		"2026-01-31T09:00:00Z", consumers.LostOffsetEarliest,
		consumers.Retry{Attempts: 3, Min: 100 * time.Millisecond, Max: 5 * time.Second},
		5 * time.Second, 8, "orders.failed", int16(3), "/var/lib/hooklog/groups/orders",
	})
	equal(t, "orders' routes", orders.Options.Routes, []consumers.Route{{Name: "paid", Source: "str*", Type: "payment.succeeded"}, {Name: "all", Source: "*", Type: "*"}})
	equal(t, "orders' targets", orders.Targets, []config.Target{{Handler: "demo.fulfil_order"}, {Print: "json"}})
	lake := cfg.Groups[1]
	equal(t, "lake", []any{lake.Options.Start, lake.Options.Routes, lake.Options.DeadLetter, lake.Targets}, []any{
		consumers.Start{Latest: true},
		[]consumers.Route{{Name: "lake", Source: "*", Type: "*"}},
		"lake.dead",
		[]config.Target{{File: &file.Options{Dir: "out", RollAfter: time.Minute, RollBytes: 128 << 20}}},
	})

	o := cfg.RelayOptions()
	equal(t, "relay options", []any{o.Listen, len(o.Sources), filepath.ToSlash(o.Dir), o.Window, o.Limits, o.Topics, len(o.Client) > 0}, []any{
		cfg.Listen, 3, "/var/lib/hooklog/index", cfg.Window, cfg.Limits, cfg.Kafka.Topics, true,
	})
	checkClients(t, cfg)
	c := client(t, cfg)
	mechanisms := c.OptValue(kgo.SASL).([]sasl.Mechanism)
	equal(t, "client", []any{c.OptValue(kgo.ClientID), c.OptValue(kgo.SeedBrokers), len(mechanisms), mechanisms[0].Name()}, []any{
		"hooklog", cfg.Kafka.Brokers, 1, "SCRAM-SHA-512",
	})
	settings := c.OptValue(kgo.DialTLSConfig).(*tls.Config)
	if settings == nil || settings.RootCAs == nil {
		t.Fatalf("TLS: got %v, want settings with an authority of their own", settings)
	}
	equal(t, "TLS", []any{settings.ServerName, len(settings.Certificates), settings.InsecureSkipVerify}, []any{"kafka.example.com", 1, false})
}

// TestPassword checks that user and password reach the broker.
func TestPassword(t *testing.T) {
	for mechanism, name := range map[string]string{"plain": "PLAIN", "scram-sha-256": "SCRAM-SHA-256", "scram-sha-512": "SCRAM-SHA-512"} {
		c := client(t, load(t, "kafka:\n  brokers: [127.0.0.1:9092]\n  sasl: {mechanism: "+mechanism+", user: u, password: ${PASSWORD}}\nsources: {a: {preset: stripe, secrets: [x]}}\n"))
		if c.OptValue(kgo.DialTLSConfig).(*tls.Config) != nil {
			t.Error("without tls the client has TLS settings")
		}
		m := c.OptValue(kgo.SASL).([]sasl.Mechanism)[0]
		_, first, err := m.Authenticate(context.Background(), "127.0.0.1:9092")
		if err != nil {
			t.Fatal(err)
		}
		if want := "\x00u\x00" + password; m.Name() != name || mechanism == "plain" && string(first) != want {
			t.Errorf("mechanism %s: got %s and first message %q, want %s (and %q for plain)", mechanism, m.Name(), first, name, want)
		}
	}
}

// client makes the client of a configuration; it connects to nothing.
func client(t *testing.T, cfg *config.Config) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(cfg.Kafka.Client...)
	if err != nil {
		t.Fatalf("the options of the client do not fit: %v", err)
	}
	t.Cleanup(c.Close)
	return c
}

// checkClients makes a client, and validates the groups as the library will.
func checkClients(t *testing.T, cfg *config.Config) {
	t.Helper()
	client(t, cfg)
	for _, g := range cfg.Groups {
		o := g.Options
		for i := range o.Routes {
			o.Routes[i].Handler = nothing{} // Which of the two a route has is not the point.
		}
		if err := o.Validate(); err != nil {
			t.Errorf("options of group %s: %v", g.Name, err)
		}
	}
}

// TestDefaults checks what a short file leaves out.
func TestDefaults(t *testing.T) {
	cfg := load(t, read(t, "testdata/small.good.yaml"))
	equal(t, "texts", []string{cfg.Listen, cfg.Admin, cfg.Data, cfg.Kafka.Embedded, cfg.Kafka.Brokers[0], cfg.Kafka.Topic, cfg.Sources[0].Topic, cfg.Sources[0].Address}, []string{
		"127.0.0.1:8080", "127.0.0.1:9180", "data", "127.0.0.1:9092", "127.0.0.1:9092", "webhooks", "webhooks", "http://127.0.0.1:8080/hooks/gh",
	})
	equal(t, "topics", cfg.Kafka.Topics, relay.TopicSettings{Partitions: 6, Replication: 1})
	equal(t, "window", cfg.Window, 720*time.Hour)
	equal(t, "limits", cfg.Limits, relay.Limits{
		Connections: relay.DefaultConnections, InFlight: relay.DefaultInFlight, InFlightBytes: relay.DefaultInFlightBytes,
		HeaderBytes: relay.DefaultHeaderBytes, ReadTimeout: relay.DefaultReadTimeout, IdleTimeout: relay.DefaultIdleTimeout,
	})
	g := cfg.Groups[0].Options
	equal(t, "group", []any{g.Topics, g.Start, g.Retry, g.Timeout, g.MaxInFlight, g.DeadLetter, g.Routes[0].Name}, []any{
		[]string{"webhooks"},
		consumers.Start{},
		consumers.Retry{Attempts: consumers.DefaultAttempts, Min: consumers.DefaultRetryMin, Max: consumers.DefaultRetryMax},
		consumers.DefaultTimeout, consumers.DefaultMaxInFlight, "watch.dead", "watch",
	})
	if cfg.Kafka.Compression != kgo.NoCompression() {
		t.Errorf("compression: got %v, want none", cfg.Kafka.Compression)
	}
	checkClients(t, cfg)
}

// TestDev loads the configuration of "hooklog dev".
func TestDev(t *testing.T) {
	e := env()
	e.Handlers = demo.Handlers()
	e.Getenv = nil // It must not need any variable.
	text := read(t, devFile)
	cfg, problems := config.Load("dev.yaml", []byte(text), e)
	if len(problems) > 0 {
		t.Fatalf("problems of dev.yaml, want none:\n%v", problems)
	}
	equal(t, "addresses", []string{cfg.Listen, cfg.Admin, cfg.Data, cfg.Kafka.Embedded, cfg.Kafka.Topic}, []string{"127.0.0.1:8080", "127.0.0.1:9180", "data", "127.0.0.1:9092", "webhooks"})
	if !strings.Contains(text, demo.Secret) {
		t.Errorf("dev.yaml does not have the demo's secret %s", demo.Secret)
	}
	equal(t, "source", []any{len(cfg.Sources), cfg.Sources[0].Preset, cfg.Sources[0].Address}, []any{1, "standard-webhooks", "http://127.0.0.1:8080/hooks/demo"})
	types := map[string]string{}
	for _, g := range cfg.Groups {
		types[g.Targets[0].Handler] = g.Options.Routes[0].Type
	}
	equal(t, "groups", types, map[string]string{
		"demo.fulfil_order": demo.PaymentSucceeded, "demo.notify_customer": demo.PaymentFailed,
		"demo.send_welcome_email": demo.CustomerCreated, "demo.revoke_access": demo.SubscriptionCancelled,
	})
	checkClients(t, cfg)

	e.Flags = config.Flags{Listen: "127.0.0.1:1", Admin: "127.0.0.1:2", Data: "elsewhere", Kafka: "127.0.0.1:3"}
	cfg, problems = config.Load("dev.yaml", []byte(text), e)
	if len(problems) > 0 {
		t.Fatalf("problems with flags, want none:\n%v", problems)
	}
	equal(t, "flags", []string{cfg.Listen, cfg.Admin, cfg.Data, cfg.Kafka.Embedded, cfg.Kafka.Brokers[0], cfg.Sources[0].Address}, []string{
		"127.0.0.1:1", "127.0.0.1:2", "elsewhere", "127.0.0.1:3", "127.0.0.1:3", "http://127.0.0.1:1/hooks/demo",
	})
	checkClients(t, cfg)
}

// TestFlagProblems checks that a flag's mistake names the flag.
func TestFlagProblems(t *testing.T) {
	e := env()
	e.Flags = config.Flags{Listen: "8080", Kafka: "127.0.0.1:1"}
	_, problems := config.Load("hooklog.yaml", []byte("kafka: {brokers: [127.0.0.1:9092]}\n"), e)
	want := "--kafka: the configuration has no embedded broker\n" +
		`--listen: want host:port, got "8080" (write host:port, or :port for all addresses)`
	got := strings.Split(problems.Errors().String(), "\n")
	equal(t, "problems", got, strings.Split(want, "\n"))
}

// TestForms loads values in the forms in which people write them.
func TestForms(t *testing.T) {
	const frame = "kafka: {embedded: {}}\n"
	window := func(text string) time.Duration {
		return load(t, frame+"sources: {a: {preset: stripe, secrets: [x]}}\ndedupe: {window: "+text+"}\n").Window
	}
	equal(t, "720h", window("720h"), 720*time.Hour)
	equal(t, "30d", window("30d"), 720*time.Hour)
	equal(t, "3d1h30m", window("3d1h30m"), 73*time.Hour+30*time.Minute)
	equal(t, `"100h" quoted`, window(`"100h"`), 100*time.Hour)
	body := func(text string) int {
		return load(t, frame+"sources: {a: {preset: stripe, secrets: [x], max_body: "+text+"}}\n").Sources[0].MaxBody
	}
	equal(t, "65536", body("65536"), 65536)
	equal(t, "64KiB", body("64KiB"), 65536)
	equal(t, "3 MiB", body("3 MiB"), 3<<20)
	equal(t, "512B", body("512B"), 512)

	// A byte order mark, carriage returns, a document's start and JSON are YAML.
	load(t, "\ufeff"+frame+"sources: {a: {preset: stripe, secrets: [x]}}\n")
	load(t, "---\r\nkafka:\r\n  embedded: {}\r\nsources:\r\n  a:\r\n    preset: stripe\r\n    secrets: [x]\r\n")
	load(t, `{"kafka":{"embedded":{}},"sources":{"a":{"preset":"stripe","secrets":["x"]}}}`)
	load(t, frame+"sources: {a: {preset: stripe, secrets: [x]}} # ${NOT_SET:-in a comment}\n")
	load(t, "kafka: {brokers: [127.0.0.1:9092, kafka-${PORT}:9092], replication: 3, tls: true}\nsources: {a: {preset: stripe, secrets: [a:b]}}\n")
	load(t, "kafka: {brokers: [kafka:9092], replication: 1, tls: false}\nsources: {a: {preset: stripe, secrets: [/etc/x]}}\n")
}
