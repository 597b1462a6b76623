package config

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"hooklog/relay"
	"hooklog/relay/spool"
	"hooklog/schemas"
)

// builder makes a Config of a document and notes what it cannot accept.
type builder struct {
	*collector
	env    Env
	doc    *document
	config *Config
	topics []topicUse
}

func (b *builder) build() {
	c, doc := b.config, b.doc
	c.Listen = b.listenAddress(&doc.Listen, defaultListen)
	c.Admin = b.listenAddress(&doc.Admin, defaultAdmin)
	c.Data = filepath.Clean(doc.Data.or(defaultData))
	if doc.Data.isSet() && doc.Data.value == "" {
		b.wrong(doc.Data.place, "it is empty", "leave the key out for "+defaultData)
	}
	if host, _, err := net.SplitHostPort(c.Admin); err == nil && doc.Admin.isSet() && !loopback(host) {
		b.doubt(doc.Admin.place, "others can reach the admin listener, which asks nobody who they are", "use a loopback address such as "+defaultAdmin)
	}
	b.kafka()
	b.limits()
	c.Window = b.window(doc.Dedupe, defaultWindow)
	b.sources()
	b.retentionFits()
	b.groups()
	b.ports()
	b.topicNames()
	b.spool()
	if len(doc.Sources.items)+len(doc.Consumers.items) == 0 && len(b.problems) == 0 {
		b.doubt(doc.place, "there are neither sources nor consumers, so nothing would run")
	}
}

// notYet refuses what a later version will do.
func (b *builder) notYet(at place, what string, hints ...string) {
	b.wrong(at, "this version does not support "+what+" yet", hints...)
}

// required notes that a key is missing from a block, unless something is wrong
// with it already.
func (b *builder) required(t *text, at block, key, hint string) bool {
	if t.isSet() {
		if t.value != "" {
			return true
		}
		b.wrong(t.place, "it is empty", hint)
		return false
	}
	if !b.mentioned(join(at.path, key)) {
		b.wrong(at.place, key+" is missing", hint)
	}
	return false
}

// within notes a number outside of its bounds and returns it, or the default
// if it is not set.
func (b *builder) within(n *number, least, most, otherwise int) int {
	if !n.isSet() {
		return otherwise
	}
	if n.value < least || n.value > most {
		b.wrong(n.place, fmt.Sprintf("want a number from %d to %d, got %s", least, most, n.shown()))
	}
	return n.value
}

func (b *builder) limits() {
	l := b.doc.Limits
	if l == nil {
		l = &limitsDoc{}
	}
	b.config.Limits = relay.Limits{
		Connections:   b.within(&l.Connections, 1, maxConnections, relay.DefaultConnections),
		InFlight:      b.within(&l.InFlight, 1, maxConnections, relay.DefaultInFlight),
		InFlightBytes: int(l.InFlightBytes.or(relay.DefaultInFlightBytes)),
		HeaderBytes:   int(l.HeaderBytes.or(relay.DefaultHeaderBytes)),
		ReadTimeout:   l.ReadTimeout.or(relay.DefaultReadTimeout),
		IdleTimeout:   l.IdleTimeout.or(relay.DefaultIdleTimeout),
	}
	if n := b.config.Limits.HeaderBytes; n < minHeaderBytes || n > maxHeaderBytes {
		b.wrong(l.HeaderBytes.place, fmt.Sprintf("want %d to %d bytes, got %s", minHeaderBytes, maxHeaderBytes, l.HeaderBytes.shown()))
	}
}

// spool reads how much may be kept on disk.
func (b *builder) spool() {
	b.config.SpoolBytes = spool.DefaultMaxBytes
	d := b.doc.Spool
	if d == nil || !d.MaxBytes.isSet() {
		return
	}
	b.config.SpoolBytes = int64(d.MaxBytes.value)
	spools := false
	for i := range b.config.Sources {
		s := &b.config.Sources[i]
		spools = spools || s.Outage == relay.OutageSpool
		if need := int64(s.MaxBody + schemas.OverheadBytes(b.config.Limits.HeaderBytes)); s.Outage == relay.OutageSpool && need > b.config.SpoolBytes {
			b.wrong(d.MaxBytes.place, fmt.Sprintf("one event of source %s may take %d bytes: it could never be kept", s.Name, need))
		}
	}
	if !spools {
		b.doubt(d.MaxBytes.place, "it has no effect: no source has outage: spool")
	}
}

// window reads how long IDs are remembered.
func (b *builder) window(d *dedupeDoc, otherwise time.Duration) time.Duration {
	if d == nil {
		d = &dedupeDoc{}
	}
	w := d.Window.or(otherwise)
	switch {
	case !d.Window.isSet(): // The default, or judged where it stands.
	case w < minWindow:
		b.wrong(d.Window.place, fmt.Sprintf("want at least %v, got %s", minWindow, d.Window.shown()))
	case w < shortWindow:
		b.doubt(d.Window.place, "many providers repeat an event for three days: copies that come after "+d.Window.source+" are taken for new events")
	}
	return w
}

// retentionFits compares how long topics keep events with how long IDs are
// remembered.
func (b *builder) retentionFits() {
	longest := b.config.Window
	for i := range b.config.Sources {
		longest = max(longest, b.config.Sources[i].Window)
	}
	if r := b.config.Kafka.Topics.Retention; r > 0 && r < longest {
		b.doubt(b.doc.Kafka.Retention.place, "the topic forgets events sooner than dedupe.window: a lost index cannot be read back in full")
	}
}

// listenAddress checks an address to listen at.
func (b *builder) listenAddress(t *text, otherwise string) string {
	addr := t.or(otherwise)
	if _, problem := splitAddress(addr); problem != "" {
		b.wrong(t.place, problem+", got "+t.shown(), "write host:port, or :port for all addresses")
	}
	return addr
}

// splitAddress takes an address apart. The port is a number: names of services
// differ between machines.
func splitAddress(addr string) (a address, problem string) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return a, "want host:port"
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return a, "the port is no number from 0 to 65535"
	}
	if host != "" && !hostForm.MatchString(host) {
		if _, err := netip.ParseAddr(host); err != nil {
			return a, "the host is no name and no address"
		}
	}
	return address{host: host, port: int(n)}, ""
}

var hostForm = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})$`)

type address struct {
	host string
	port int
}

// clashes reports whether two sockets cannot both listen.
func (a address) clashes(other address) bool {
	return a.port != 0 && a.port == other.port && (a.host == other.host || a.wild() || other.wild())
}

func (a address) wild() bool {
	ip, err := netip.ParseAddr(a.host)
	return a.host == "" || err == nil && ip.IsUnspecified()
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// ports refuses two listeners at one port.
func (b *builder) ports() {
	type listener struct {
		key   string
		value string
		place place
	}
	all := []listener{
		{"listen", b.config.Listen, b.doc.Listen.place},
		{"admin", b.config.Admin, b.doc.Admin.place},
	}
	if b.config.Kafka.Embedded != "" {
		all = append(all, listener{"kafka.embedded.listen", b.config.Kafka.Embedded, b.doc.Kafka.Embedded.Listen.place})
	}
	for i, one := range all {
		for _, other := range all[:i] {
			x, p := splitAddress(one.value)
			y, q := splitAddress(other.value)
			if p != "" || q != "" || !x.clashes(y) {
				continue
			}
			at, with := one, other
			if at.place.line == 0 { // A default: the other one was written.
				at, with = other, one
			}
			if at.place.line == 0 {
				continue
			}
			b.wrong(at.place, with.key+" has that port too", "give each its own")
		}
	}
}

// topicUse is a place in the file that names a topic.
type topicUse struct {
	name  string
	place place
	// shown is the name for messages.
	shown string
	// written by sources, or made for dead letters.
	written, dead bool
}

// topic checks a name and remembers its use.
func (b *builder) topic(t *text, otherwise string, use topicUse) string {
	use.name, use.place, use.shown = t.or(otherwise), t.place, strconv.Quote(otherwise)
	if t.isSet() {
		use.shown = t.shown()
	}
	if t.isSet() && !validTopic(use.name) {
		b.wrong(t.place, "not a Kafka topic name: "+t.shown(), "1 to 249 of a-z A-Z 0-9 . _ -")
		return use.name
	}
	b.topics = append(b.topics, use)
	return use.name
}

var topicForm = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

func validTopic(name string) bool {
	return topicForm.MatchString(name) && name != "." && name != ".."
}

// topicNames checks the topics against each other.
func (b *builder) topicNames() {
	seen := map[string]topicUse{}
	for _, use := range b.topics {
		// Kafka itself refuses the second: its metrics could not tell them apart.
		flat := strings.ReplaceAll(use.name, ".", "_")
		if other, ok := seen[flat]; ok && other.name != use.name && use.place.line > 0 {
			b.wrong(use.place, fmt.Sprintf("Kafka cannot have topics %s and %s, which differ in . and _ only", other.shown, use.shown))
		} else if !ok {
			seen[flat] = use
		}
	}
	for _, dead := range b.topics {
		if !dead.dead {
			continue
		}
		for _, other := range b.topics {
			if other.name == dead.name && other.written {
				b.wrong(dead.place, fmt.Sprintf("sources write to %s: events and dead letters need topics of their own", dead.shown))
				break
			}
		}
	}
}
