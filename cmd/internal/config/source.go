package config

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"hooklog/relay"
	"hooklog/relay/preset"
	"hooklog/schemas"
)

func (b *builder) sources() {
	for i := range b.doc.Sources.items {
		e := &b.doc.Sources.items[i]
		if schemas.CheckSourceName(e.name) != nil {
			b.wrong(e.place, "a source's name matches [a-z0-9][a-z0-9._-]{0,63}")
		}
		if e.value != nil {
			b.config.Sources = append(b.config.Sources, b.source(e))
		}
	}
}

func (b *builder) source(e *entry[*sourceDoc]) Source {
	doc := e.value
	s := Source{
		Source: relay.Source{
			Name:       schemas.SourceName(e.name),
			Unverified: doc.Unverified.value,
			URL:        b.publicURL(&doc.URL),
			MaxBody:    int(doc.MaxBody.or(relay.DefaultMaxBody)),
			Deadline:   doc.Deadline.or(relay.DefaultDeadline),
			Window:     b.window(doc.Dedupe, b.config.Window),
			Topic:      b.topic(&doc.Topic, b.config.Kafka.Topic, topicUse{written: true}),
			Response:   b.response(doc.Response),
		},
		Path: "/hooks/" + e.name,
	}
	s.Address = s.URL
	if s.Address == "" {
		s.Address = "http://" + b.config.Listen + s.Path
	}
	p, spools := b.verification(e, &s)
	s.ID = b.extractor(&doc.ID, ":", p.ID)
	s.Type = b.extractor(&doc.Type, ".", p.Type)
	s.Time = b.extractor(&texts{place: doc.Time.place, items: []text{doc.Time}}, "", p.Time)
	b.bounds(doc, &s)
	s.Outage = b.outage(doc, spools)
	if doc.Keys.line > 0 {
		b.notYet(doc.Keys.place, "public keys")
	}
	if doc.Options.line > 0 {
		b.notYet(doc.Options.place, "options of presets")
	}
	return s
}

// verification finds out how requests are judged, and fails closed: a source
// says preset, hmac or, aloud, unverified.
func (b *builder) verification(e *entry[*sourceDoc], s *Source) (p preset.Preset, spools bool) {
	doc := e.value
	said := 0
	for _, is := range []bool{doc.Preset.isSet(), doc.HMAC != nil, doc.Unverified.value} {
		if is {
			said++
		}
	}
	switch {
	case said > 1:
		b.wrong(e.place, "preset, hmac and unverified exclude each other", "keep one of them")
		return p, false
	case said == 0:
		if !b.mentioned(join(e.path, "preset")) && !b.mentioned(join(e.path, "hmac")) && !b.mentioned(join(e.path, "unverified")) {
			b.wrong(e.place, "nothing says how its requests are verified", "preset: NAME, hmac: {...}, or unverified: true if anybody may send")
		}
		return p, false
	case doc.Unverified.value:
		for _, useless := range []place{doc.Secrets.place, doc.Tolerance.place} {
			if useless.line > 0 {
				b.wrong(useless, "it has no use where unverified is true", "say preset or hmac instead of unverified")
			}
		}
		b.doubt(doc.Unverified.place, "anybody who knows the address can send events")
		return p, false
	case doc.HMAC != nil:
		if scheme, ok := b.scheme(doc.HMAC); ok {
			b.verifier(e, s, scheme)
		}
		return p, false
	}
	p, ok := preset.Lookup(doc.Preset.value)
	if !ok {
		var hint string
		if near, found := preset.Nearest(doc.Preset.value); found {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		b.wrong(doc.Preset.place, "unknown preset "+doc.Preset.shown(), hint, "this version has "+strings.Join(preset.Names(), ", ")+"; hmac declares others")
		return p, false
	}
	s.Preset = p.Name
	b.verifier(e, s, p.Scheme)
	return p, p.Outage == preset.Spool
}

// extractor reads where a text stands; otherwise is the preset's.
func (b *builder) extractor(t *texts, separator string, otherwise schemas.Extractor) schemas.Extractor {
	if !t.isSet() {
		return otherwise
	}
	specs := make([]string, 0, len(t.items))
	for i := range t.items {
		item := &t.items[i]
		if !item.isSet() {
			return otherwise
		}
		if _, err := schemas.ParseExtractor(separator, item.value); err != nil {
			b.wrong(item.place, secretless(err, item), "header:NAME, body:PATH or sha256")
			return otherwise
		}
		specs = append(specs, item.value)
	}
	x, err := schemas.ParseExtractor(separator, specs...)
	if err != nil {
		b.wrong(t.place, "it says where nothing stands")
	}
	return x
}

// publicURL checks the address at which the provider reaches the source.
func (b *builder) publicURL(t *text) string {
	if !t.isSet() {
		return ""
	}
	// The parser's own errors quote the text, which may have a password.
	u, err := url.Parse(t.value)
	hint := "https://HOST/hooks/NAME"
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Opaque != "":
		b.wrong(t.place, "want an absolute http or https URL, got "+t.shown(), hint)
	case u.User != nil:
		b.wrong(t.place, "the URL carries a user name: it would stand in every record", hint)
	case strings.Contains(t.value, "#"):
		b.wrong(t.place, "the URL has a fragment, which is never sent", hint)
	}
	return t.value
}

// bounds checks what a source may cost.
func (b *builder) bounds(doc *sourceDoc, s *Source) {
	if s.MaxBody > maxMaxBody {
		b.wrong(doc.MaxBody.place, fmt.Sprintf("want at most %d bytes, got %s", maxMaxBody, doc.MaxBody.shown()), "Kafka was not made for larger records")
	}
	if l := b.config.Limits; s.MaxBody+l.HeaderBytes > l.InFlightBytes {
		at := doc.MaxBody.place
		if at.line == 0 && b.doc.Limits != nil {
			at = b.doc.Limits.InFlightBytes.place
		}
		b.wrong(at, "one body with its headers is more than limits.in_flight_bytes: none could be taken")
	}
	if d := doc.Deadline; d.isSet() && d.value < minDeadline {
		b.wrong(d.place, fmt.Sprintf("want at least %v, got %s", minDeadline, d.shown()), "the brokers need a part of it")
	} else if d.isSet() && d.value > longDeadline {
		b.doubt(d.place, "most providers give up sooner, and send again what was taken", "the default is "+relay.DefaultDeadline.String())
	}
	if t := doc.Tolerance; t.isSet() && t.value > s.Window/2 {
		b.wrong(t.place, fmt.Sprintf("a copy could be replayed after dedupe.window (%v) has forgotten the first", s.Window), "at most half of it")
	} else if t.isSet() && t.value > time.Hour {
		b.doubt(t.place, "a captured request can be replayed that long")
	}
}

// outage reads what happens while the log cannot be written; spools says what
// fits the provider.
func (b *builder) outage(doc *sourceDoc, spools bool) relay.Outage {
	switch t := &doc.Outage; {
	case t.value == "spool", !t.isSet() && spools:
		return relay.OutageSpool
	case t.isSet() && t.value != "reject":
		b.wrong(t.place, "unknown outage "+t.shown(), didYouMean(t.value, []string{"reject", "spool"}), "reject or spool")
	}
	return relay.OutageReject
}

func (b *builder) response(doc *responseDoc) *relay.Response {
	if doc == nil {
		return nil
	}
	r := &relay.Response{Status: b.within(&doc.Status, 200, 299, 200), ContentType: doc.ContentType.value, Body: doc.Body.value}
	if strings.ContainsFunc(r.ContentType, func(c rune) bool { return c < 0x20 || c > 0x7e }) {
		b.wrong(doc.ContentType.place, "it has characters that a header cannot carry")
	}
	if (r.Status == 204 || r.Status == 205) && r.Body != "" {
		b.wrong(doc.Body.place, fmt.Sprintf("an answer with status %d has no body", r.Status))
	}
	return r
}
