package config

import (
	"github.com/goccy/go-yaml/ast"
)

// The structs of this file are the file format, key by key; what a key means
// is said in schemas/config.v1.json, which a test keeps in step. Keys of
// features that are still to come are here too, so that they are refused by
// name and never taken for typing mistakes.

type document struct {
	block
	Listen    text              `yaml:"listen"`
	Admin     text              `yaml:"admin"`
	Data      text              `yaml:"data"`
	Kafka     *kafkaDoc         `yaml:"kafka"`
	Sources   named[*sourceDoc] `yaml:"sources"`
	Dedupe    *dedupeDoc        `yaml:"dedupe"`
	Spool     *spoolDoc         `yaml:"spool"`
	Limits    *limitsDoc        `yaml:"limits"`
	Consumers named[*groupDoc]  `yaml:"consumers"`
}

type kafkaDoc struct {
	block
	Brokers     list[text]   `yaml:"brokers"`
	Embedded    *embeddedDoc `yaml:"embedded"`
	Topic       text         `yaml:"topic"`
	Partitions  number       `yaml:"partitions"`
	Replication number       `yaml:"replication"`
	Retention   text         `yaml:"retention"`
	Compression text         `yaml:"compression"`
	TLS         tlsDoc       `yaml:"tls"`
	SASL        *saslDoc     `yaml:"sasl"`
}

type embeddedDoc struct {
	block
	Listen text `yaml:"listen"`
}

// tlsDoc is "true", for the system's roots, or a map.
type tlsDoc struct {
	place
	*tlsFields
}

type tlsFields struct {
	block
	CA         text `yaml:"ca"`
	Cert       text `yaml:"cert"`
	Key        text `yaml:"key"`
	ServerName text `yaml:"server_name"`
	Insecure   flag `yaml:"insecure_skip_verify"`
}

func (t *tlsDoc) decode(d *decoder, n ast.Node, path string) {
	if _, isMap := n.(*ast.MappingNode); isMap {
		if d.into(&t.tlsFields, n, path); t.tlsFields != nil {
			t.place = t.tlsFields.place
		}
		return
	}
	var on flag
	if on.decode(d, n, path); on.value {
		t.place, t.tlsFields = on.place, &tlsFields{block: block{on.place}}
	}
}

func (t *tlsDoc) element() any { return new(*tlsFields) }

type saslDoc struct {
	block
	Mechanism text   `yaml:"mechanism"`
	User      text   `yaml:"user"`
	Password  secret `yaml:"password"`
}

type sourceDoc struct {
	block
	Preset     text            `yaml:"preset"`
	Unverified flag            `yaml:"unverified"`
	HMAC       *hmacDoc        `yaml:"hmac"`
	Secrets    list[secretDoc] `yaml:"secrets"`
	Keys       list[*keyDoc]   `yaml:"keys"`
	Options    named[anything] `yaml:"options"`
	ID         texts           `yaml:"id"`
	Type       texts           `yaml:"type"`
	Time       text            `yaml:"time"`
	URL        text            `yaml:"url"`
	Tolerance  duration        `yaml:"tolerance"`
	MaxBody    size            `yaml:"max_body"`
	Deadline   duration        `yaml:"deadline"`
	Outage     text            `yaml:"outage"`
	Dedupe     *dedupeDoc      `yaml:"dedupe"`
	Topic      text            `yaml:"topic"`
	Response   *responseDoc    `yaml:"response"`
}

// hmacDoc declares a scheme, as signature.Scheme.
type hmacDoc struct {
	block
	Header    text          `yaml:"header"`
	Algorithm text          `yaml:"algorithm"`
	Encoding  text          `yaml:"encoding"`
	Prefix    text          `yaml:"prefix"`
	Signed    text          `yaml:"signed"`
	List      *listDoc      `yaml:"list"`
	Timestamp *timestampDoc `yaml:"timestamp"`
	ID        text          `yaml:"id"`
	Key       text          `yaml:"key"`
}

type listDoc struct {
	block
	Separator text `yaml:"separator"`
	Assign    text `yaml:"assign"`
	Label     text `yaml:"label"`
}

type timestampDoc struct {
	block
	Header text `yaml:"header"`
	Label  text `yaml:"label"`
	Unit   text `yaml:"unit"`
}

// secretDoc is a secret alone, or with its name and its span of time.
type secretDoc struct {
	place
	*secretFields
}

type secretFields struct {
	block
	ID        text    `yaml:"id"`
	Value     secret  `yaml:"value"`
	NotBefore instant `yaml:"not_before"`
	NotAfter  instant `yaml:"not_after"`
}

func (s *secretDoc) decode(d *decoder, n ast.Node, path string) {
	s.place = nodePlace(n, path)
	switch n.(type) {
	case *ast.MappingNode:
		d.into(&s.secretFields, n, path)
		if s.secretFields != nil && !s.Value.isSet() && !d.mentioned(path) {
			d.wrong(s.place, "value is missing")
		}
	default:
		s.secretFields = &secretFields{block: block{s.place}}
		s.Value.decode(d, n, path)
	}
}

func (s *secretDoc) element() any { return new(*secretFields) }

type keyDoc struct {
	block
	Format text     `yaml:"format"`
	Value  anything `yaml:"value"`
	URL    text     `yaml:"url"`
}

// anything is a value of a feature to come: known, and not looked into.
type anything struct{ place }

func (a *anything) decode(_ *decoder, n ast.Node, path string) { a.place = nodePlace(n, path) }

type responseDoc struct {
	block
	Status      number `yaml:"status"`
	ContentType text   `yaml:"content_type"`
	Body        text   `yaml:"body"`
}

type dedupeDoc struct {
	block
	Window duration `yaml:"window"`
}

type spoolDoc struct {
	block
	MaxBytes size `yaml:"max_bytes"`
}

type limitsDoc struct {
	block
	Connections   number   `yaml:"connections"`
	InFlight      number   `yaml:"in_flight"`
	InFlightBytes size     `yaml:"in_flight_bytes"`
	HeaderBytes   size     `yaml:"header_bytes"`
	ReadTimeout   duration `yaml:"read_timeout"`
	IdleTimeout   duration `yaml:"idle_timeout"`
}

type groupDoc struct {
	block
	Topic        texts           `yaml:"topic"`
	Start        text            `yaml:"start"`
	Lookback     duration        `yaml:"lookback"`
	Duplicates   text            `yaml:"duplicates"`
	Retry        *retryDoc       `yaml:"retry"`
	Timeout      duration        `yaml:"timeout"`
	MaxInFlight  number          `yaml:"max_in_flight"`
	OrderBy      texts           `yaml:"order_by"`
	DeadLetter   text            `yaml:"dead_letter"`
	OnLostOffset text            `yaml:"on_lost_offset"`
	Routes       list[*routeDoc] `yaml:"routes"`
}

type retryDoc struct {
	block
	Attempts number   `yaml:"attempts"`
	Min      duration `yaml:"min"`
	Max      duration `yaml:"max"`
}

type routeDoc struct {
	block
	Name   text     `yaml:"name"`
	Source text     `yaml:"source"`
	Type   text     `yaml:"type"`
	Where  anything `yaml:"where"`
	Split  anything `yaml:"split"`
	To     toDoc    `yaml:"to"`
}

// toDoc is where a route's events go: a map with one key, or that key alone
// where nothing needs to be said of it.
type toDoc struct {
	place
	*toFields
}

type toFields struct {
	block
	Print   *printDoc `yaml:"print"`
	File    *fileDoc  `yaml:"file"`
	Handler text      `yaml:"handler"`
	Topic   anything  `yaml:"topic"`
	HTTP    anything  `yaml:"http"`
}

func (t *toDoc) decode(d *decoder, n ast.Node, path string) {
	t.place = nodePlace(n, path)
	if _, isMap := n.(*ast.MappingNode); isMap {
		d.into(&t.toFields, n, path)
		return
	}
	var kind text
	if kind.decode(d, n, path); !kind.isSet() {
		return
	}
	switch kind.value {
	case "print":
		t.toFields = &toFields{block: block{t.place}, Print: &printDoc{block: block{t.place}}}
	case "file":
		d.wrong(t.place, "file needs a folder", "write {file: {dir: ./out}}")
	case "handler":
		d.wrong(t.place, "handler needs a name", "write {handler: NAME}")
	default:
		d.wrong(t.place, "unknown sink "+kind.shown(), didYouMean(kind.value, []string{"print", "file", "handler"}), "print, {file: {dir: ./out}} or {handler: NAME}")
	}
}

func (t *toDoc) element() any { return new(*toFields) }

type printDoc struct {
	block
	Format text `yaml:"format"`
}

type fileDoc struct {
	block
	Dir       text     `yaml:"dir"`
	Format    text     `yaml:"format"`
	RollAfter duration `yaml:"roll_after"`
	RollBytes size     `yaml:"roll_bytes"`
}

// texts is one text or a list of them.
type texts struct {
	place
	items []text
}

func (t *texts) isSet() bool { return t.line > 0 }

func (t *texts) decode(d *decoder, n ast.Node, path string) {
	if _, isList := n.(*ast.SequenceNode); !isList {
		var one text
		if one.decode(d, n, path); one.isSet() {
			t.place, t.items = one.place, []text{one}
		}
		return
	}
	var many list[text]
	if many.decode(d, n, path); len(many.items) == 0 {
		d.wrong(nodePlace(n, path), "the list is empty")
		return
	}
	t.place, t.items = many.place, many.items
}
