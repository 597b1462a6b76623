package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"hooklog/relay"
)

func (b *builder) kafka() {
	k := b.doc.Kafka
	if k == nil {
		if !b.mentioned("kafka") {
			b.wrong(b.doc.place, "kafka is missing", "kafka: {brokers: [HOST:PORT]}, or kafka: {embedded: {}}")
		}
		k = &kafkaDoc{}
	}
	out := &b.config.Kafka
	out.Topic = b.topic(&k.Topic, defaultTopic, topicUse{})
	out.Topics = relay.TopicSettings{
		Partitions:  int32(b.within(&k.Partitions, 1, maxPartitions, defaultPartitions)),
		Replication: int16(b.within(&k.Replication, 1, maxReplication, defaultReplication)),
		Retention:   b.retention(&k.Retention),
	}
	out.Compression = b.compression(&k.Compression)
	b.brokers(k, out)
	out.Client = []kgo.Opt{kgo.SeedBrokers(out.Brokers...), kgo.ClientID("hooklog")}
	if t := b.tls(&k.TLS); t != nil {
		out.Client = append(out.Client, kgo.DialTLSConfig(t))
	}
	if m := b.sasl(k); m != nil {
		out.Client = append(out.Client, kgo.SASL(m))
	}
}

// brokers finds out where the log is: at brokers or in this process.
func (b *builder) brokers(k *kafkaDoc, out *Kafka) {
	distant := false
	for i := range k.Brokers.items {
		t := &k.Brokers.items[i]
		if !t.isSet() {
			continue
		}
		a, problem := splitAddress(t.value)
		if problem == "" && (a.host == "" || a.port == 0) {
			problem = "a broker needs a host and a port"
		}
		if problem != "" {
			b.wrong(t.place, problem+", got "+t.shown())
			continue
		}
		distant = distant || !loopback(a.host)
		out.Brokers = append(out.Brokers, t.value)
	}
	switch e := k.Embedded; {
	case e != nil && k.Brokers.line > 0:
		b.wrong(e.place, "brokers and embedded exclude each other", "embedded runs a broker in this process")
	case e != nil:
		out.Embedded = b.listenAddress(&e.Listen, defaultEmbedded)
		out.Brokers = []string{out.Embedded}
		if a, problem := splitAddress(out.Embedded); problem == "" && a.wild() {
			b.wrong(e.Listen.place, "clients are told this address, so it needs a host", "write 127.0.0.1:"+fmt.Sprint(a.port))
		}
		if out.Topics.Replication > 1 {
			b.wrong(k.Replication.place, "the embedded broker is one node: it keeps one copy", "leave the key out")
		}
		if k.TLS.line > 0 {
			b.wrong(k.TLS.place, "the embedded broker does not speak TLS")
		}
		if k.SASL != nil {
			b.wrong(k.SASL.place, "the embedded broker asks nobody who they are")
		}
	case len(out.Brokers) == 0 && b.doc.Kafka != nil && !b.mentioned("kafka.brokers") && !b.mentioned("kafka.embedded"):
		b.wrong(k.place, "brokers are missing", "brokers: [HOST:PORT], or embedded: {}")
	}
	if distant && !k.Replication.isSet() {
		b.doubt(k.Brokers.place, "topics are made with one copy: a lost disk loses events", "say replication: 3, or replication: 1 if that is meant")
	}
	if distant && k.SASL != nil && k.TLS.line == 0 {
		b.doubt(k.SASL.place, "without tls the password and all events can be read on the way", "tls: true")
	}
}

func (b *builder) retention(t *text) time.Duration {
	if t.or("forever") == "forever" {
		return 0
	}
	d, err := parseDuration(t.value)
	if err != nil {
		b.wrong(t.place, err.Error()+", or forever, got "+t.shown())
	}
	return d
}

var codecs = []struct {
	name  string
	codec kgo.CompressionCodec
}{
	{"none", kgo.NoCompression()},
	{"gzip", kgo.GzipCompression()},
	{"snappy", kgo.SnappyCompression()},
	{"lz4", kgo.Lz4Compression()},
	{"zstd", kgo.ZstdCompression()},
}

func (b *builder) compression(t *text) kgo.CompressionCodec {
	names := make([]string, len(codecs))
	for i, c := range codecs {
		if names[i] = c.name; c.name == t.or("none") {
			return c.codec
		}
	}
	b.wrong(t.place, "unknown compression "+t.shown(), didYouMean(t.value, names), strings.Join(names, ", "))
	return kgo.NoCompression()
}

// tls returns the settings of the connection to the brokers; nil is no TLS.
func (b *builder) tls(t *tlsDoc) *tls.Config {
	if t.tlsFields == nil {
		return nil
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName.value}
	if pem, ok := b.file(&t.CA); ok {
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(pem) {
			b.wrong(t.CA.place, "the file holds no PEM certificate")
		}
	}
	switch cert, key := &t.Cert, &t.Key; {
	case cert.isSet() != key.isSet():
		if !b.mentioned(join(t.path, "cert")) && !b.mentioned(join(t.path, "key")) {
			b.wrong(t.place, "cert and key need each other")
		}
	case cert.isSet():
		certPEM, ok := b.file(cert)
		keyPEM, okay := b.file(key)
		if !ok || !okay {
			break
		}
		pair, err := tls.X509KeyPair(certPEM, keyPEM)
		if err != nil {
			// The error names what is missing, never what is there.
			b.wrong(cert.place, "cert and key are no pair: "+err.Error())
		}
		out.Certificates = []tls.Certificate{pair}
	}
	if t.Insecure.value {
		b.doubt(t.Insecure.place, "whoever answers at the brokers' address is believed", "name the authority in ca instead")
		out.InsecureSkipVerify = true
	}
	return out
}

// file reads a file that is named by a key, with or without "file:".
func (b *builder) file(t *text) ([]byte, bool) {
	if !t.isSet() {
		return nil, false
	}
	d := decoder{collector: b.collector, env: b.env}
	return d.readFile(t.place, strings.TrimPrefix(t.value, "file:"))
}

func (b *builder) sasl(k *kafkaDoc) sasl.Mechanism {
	s := k.SASL
	if s == nil {
		return nil
	}
	mechanisms := []string{"plain", "scram-sha-256", "scram-sha-512"}
	list := strings.Join(mechanisms, ", ")
	ok := b.required(&s.Mechanism, s.block, "mechanism", list)
	ok = b.required(&s.User, s.block, "user", "") && ok
	if !s.Password.isSet() {
		if ok = false; !b.mentioned(join(s.path, "password")) {
			b.wrong(s.place, "password is missing", "password: ${NAME}, or file:PATH")
		}
	}
	var mechanism sasl.Mechanism
	switch name := s.Mechanism.value; {
	case !ok:
	case name == "plain":
		mechanism = plain.Auth{User: s.User.value, Pass: s.Password.reveal()}.AsMechanism()
	case name == "scram-sha-256":
		mechanism = scram.Auth{User: s.User.value, Pass: s.Password.reveal()}.AsSha256Mechanism()
	case name == "scram-sha-512":
		mechanism = scram.Auth{User: s.User.value, Pass: s.Password.reveal()}.AsSha512Mechanism()
	default:
		b.wrong(s.Mechanism.place, "unknown mechanism "+s.Mechanism.shown(), didYouMean(name, mechanisms), list)
	}
	return mechanism
}
