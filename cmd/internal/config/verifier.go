package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"hooklog/relay/signature"
)

// scheme makes a scheme of hmac. It is not ok if a part of it could not be
// read; what contradicts itself is found by signature.New.
func (b *builder) scheme(h *hmacDoc) (s signature.Scheme, ok bool) {
	before := len(b.problems)
	s.Name = "hmac"
	b.required(&h.Header, h.block, "header", "header: X-Signature-256")
	b.required(&h.Signed, h.block, "signed", `signed: "{body}"`)
	s.Header, s.Prefix, s.ID = h.Header.value, h.Prefix.value, h.ID.value
	s.Algorithm = parseEnum(b, &h.Algorithm, signature.ParseAlgorithm)
	s.Encoding = parseEnum(b, &h.Encoding, signature.ParseEncoding)
	s.Key = parseEnum(b, &h.Key, signature.ParseKeyFormat)
	if h.Signed.value != "" {
		var err error
		if s.Signed, err = signature.ParseMessage(h.Signed.value); err != nil {
			b.wrong(h.Signed.place, secretless(err, &h.Signed))
		}
	}
	if l := h.List; l != nil {
		s.List = signature.List{Separator: l.Separator.value, Assign: l.Assign.value, Label: l.Label.value}
	}
	if t := h.Timestamp; t != nil {
		s.Timestamp = signature.Timestamp{Header: t.Header.value, Label: t.Label.value, Unit: parseEnum(b, &t.Unit, signature.ParseUnit)}
		if s.Timestamp.IsZero() {
			b.wrong(t.place, "header or label is missing", "say where the timestamp stands")
		}
	}
	return s, len(b.problems) == before && !b.mentioned(h.path)
}

// parseEnum reads a word of a closed list; the zero value is the default.
func parseEnum[E any](b *builder, t *text, parse func(string) (E, error)) (e E) {
	if !t.isSet() {
		return e
	}
	e, err := parse(t.value)
	if err != nil {
		b.wrong(t.place, secretless(err, t))
	}
	return e
}

// secretless returns an error's text, in which a value may be quoted, fit to
// be shown.
func secretless(err error, t *text) string {
	if t.fromEnv || looksSecret.MatchString(t.source) {
		return "it is not one of the forms allowed here"
	}
	return err.Error()
}

// verifier binds a scheme to the source's secrets.
func (b *builder) verifier(e *entry[*sourceDoc], s *Source, scheme signature.Scheme) {
	doc := e.value
	secrets, ok := b.secrets(e)
	if doc.Tolerance.isSet() && scheme.Timestamp.IsZero() {
		b.doubt(doc.Tolerance.place, "it has no effect: the scheme signs no timestamp")
	}
	if !ok {
		return
	}
	v, err := signature.New(scheme, secrets, doc.Tolerance.value)
	if err != nil {
		b.schemeErrors(e, err)
		return
	}
	if v.SignsURL() && s.URL == "" && !b.mentioned(join(e.path, "url")) {
		b.wrong(e.place, "url is missing: the sender signs the public URL", "url: https://HOST/hooks/"+e.name)
	}
	s.Verifier = v
}

var idForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// secrets returns the secrets of a source, not ok if any is wrong.
func (b *builder) secrets(e *entry[*sourceDoc]) (out []signature.Secret, ok bool) {
	doc := e.value
	path := join(e.path, "secrets")
	if len(doc.Secrets.items) == 0 {
		if !b.mentioned(path) {
			b.wrong(e.place, "there are no secrets, so nothing could be verified", "secrets: [${NAME}], or [file:PATH]")
		}
		return nil, false
	}
	now, usable := b.env.Now(), false
	for i := range doc.Secrets.items {
		item := &doc.Secrets.items[i]
		if item.secretFields == nil || !item.Value.isSet() {
			continue // Reported already.
		}
		value := item.Value.reveal()
		if id := &item.ID; id.isSet() && (id.value == value || strings.Contains(id.value, "whsec_")) {
			b.wrong(id.place, "the id is a secret itself, and would stand in every record", "give it a name such as 2026-01")
			continue
		}
		if id := &item.ID; id.isSet() && !idForm.MatchString(id.value) {
			b.wrong(id.place, "an id matches [A-Za-z0-9._-]{1,64}")
			continue
		}
		expired := item.NotAfter.isSet() && now.After(item.NotAfter.value)
		if expired {
			b.doubt(item.NotAfter.place, "the secret has expired", "remove it")
		}
		usable = usable || !expired
		out = append(out, signature.Secret{
			ID: item.ID.value, Value: signature.NewSecretValue(value),
			NotBefore: item.NotBefore.value, NotAfter: item.NotAfter.value,
		})
	}
	if b.mentioned(path) {
		return nil, false
	}
	if !usable {
		b.wrong(doc.Secrets.place, "all secrets have expired, so nothing could be verified")
		return nil, false
	}
	return out, true
}

// schemeErrors finds the lines of what signature.New found wrong.
func (b *builder) schemeErrors(e *entry[*sourceDoc], err error) {
	doc := e.value
	for _, err := range unjoin(err) {
		at, message := e.place, err.Error()
		var fe *signature.FieldError
		if errors.As(err, &fe) {
			message = fe.Problem
			if fe.Name == "tolerance" {
				at = doc.Tolerance.place
			} else if rest, ok := strings.CutPrefix(fe.Name, "secrets"); ok {
				at = secretPlace(&doc.Secrets, rest)
			} else if doc.HMAC != nil {
				at = doc.HMAC.fieldPlace(fe.Name)
			}
		}
		if doc.HMAC != nil && doc.HMAC.hides() {
			message = "the scheme does not fit: a value of it comes from the environment and is not shown"
		}
		b.wrong(at, message)
	}
}

// secretPlace returns the place of "[i]", "[i].id" or "[i].not_after".
func secretPlace(secrets *list[secretDoc], rest string) place {
	var i int
	if n, _ := fmt.Sscanf(rest, "[%d]", &i); n != 1 || i >= len(secrets.items) {
		return secrets.place
	}
	item := &secrets.items[i]
	switch {
	case strings.HasSuffix(rest, ".id") && item.ID.isSet():
		return item.ID.place
	case strings.HasSuffix(rest, ".not_after"):
		return item.NotAfter.place
	}
	return item.place
}

// fieldPlace returns the place of a key of hmac, or of hmac itself.
func (h *hmacDoc) fieldPlace(name string) place {
	at := place{}
	switch name {
	case "header":
		at = h.Header.place
	case "list":
		if h.List != nil {
			at = h.List.place
		}
	case "prefix":
		at = h.Prefix.place
	case "signed":
		at = h.Signed.place
	case "timestamp":
		if h.Timestamp != nil {
			at = h.Timestamp.place
		}
	case "id":
		at = h.ID.place
	case "key":
		at = h.Key.place
	}
	if at.line == 0 {
		return h.place
	}
	return at
}

// hides reports whether a text of hmac must not be repeated.
func (h *hmacDoc) hides() bool {
	all := []*text{&h.Header, &h.Prefix, &h.Signed, &h.ID}
	if h.List != nil {
		all = append(all, &h.List.Separator, &h.List.Assign, &h.List.Label)
	}
	if h.Timestamp != nil {
		all = append(all, &h.Timestamp.Header, &h.Timestamp.Label)
	}
	for _, t := range all {
		if t.fromEnv || looksSecret.MatchString(t.source) {
			return true
		}
	}
	return false
}

func unjoin(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}
