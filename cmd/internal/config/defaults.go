package config

import "time"

// What a file may leave out. Defaults of single sources and of limits are
// relay's, those of groups consumers'.
const (
	// Loopback: whoever wants the port open to others says so.
	defaultListen = "127.0.0.1:8080"
	defaultAdmin  = "127.0.0.1:9180" // not 9090, which is Prometheus' own
	defaultData   = "./data"
	// Kafka's usual port, so that its tools need no telling.
	defaultEmbedded = "127.0.0.1:9092"

	defaultTopic       = "webhooks"
	defaultPartitions  = 6 // divides evenly among one, two, three and six consumers
	defaultReplication = 1 // what a single broker can do; check warns where there may be more

	// Longer than any known provider retries by itself (Adyen: 30 days).
	defaultWindow = 30 * 24 * time.Hour
)

// Bounds. They catch a slip in a unit, not a matter of taste.
const (
	maxPartitions  = 10_000   // of one topic; Kafka's controllers suffer beyond
	maxReplication = 32       // nobody has more brokers for one topic
	maxMaxBody     = 64 << 20 // the largest known body is 25 MiB (GitHub), and Kafka was not made for more
	minHeaderBytes = 4 << 10  // common proxies add 1 to 2 KiB to the sender's own
	maxHeaderBytes = 1 << 20
	maxConnections = 1_000_000
	maxAttempts    = 1000
	maxInFlight    = 100_000
	minDeadline    = 100 * time.Millisecond // an acknowledgement by several replicas takes a part of it
	longDeadline   = 10 * time.Second       // most providers give up sooner
	minWindow      = time.Minute
	shortWindow    = 72 * time.Hour // how long Stripe, Paddle, PayPal and others retry
	minRollBytes   = 64 << 10
	minRollAfter   = time.Second
)
