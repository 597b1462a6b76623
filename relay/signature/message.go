package signature

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// PartKind says what a part of the signed text is.
type PartKind uint8

// Part kinds, and how a template names them.
const (
	PartLiteral   PartKind = iota // its own text
	PartBody                      // {body}: as received
	PartTimestamp                 // {ts}: the timestamp's text as sent
	PartID                        // {id}: the ID as sent
	PartMethod                    // {method}
	PartURL                       // {url}: the public URL, as configured
	PartTarget                    // {target}: path and query as received
)

var partNames = []string{"", "body", "ts", "id", "method", "url", "target"}

const partList = "{body}, {ts}, {id}, {method}, {url} or {target}"

// Part is one part of the signed text.
type Part struct {
	Kind PartKind
	// Text is that of a literal; else empty.
	Text string
}

// Message is the text that is signed, part by part. The zero value signs
// nothing, and no Scheme may have it.
type Message []Part

// ParseMessage reads a template such as "{id}.{ts}.{body}". A brace that means
// itself is doubled.
func ParseMessage(template string) (Message, error) {
	var m Message
	literal := ""
	flush := func() {
		if literal != "" {
			m = append(m, Part{Text: literal})
			literal = ""
		}
	}
	for i := 0; i < len(template); {
		rest := template[i:]
		switch {
		case strings.HasPrefix(rest, "{{"), strings.HasPrefix(rest, "}}"):
			literal += rest[:1]
			i += 2
		case rest[0] == '}':
			return nil, fmt.Errorf("template %q: \"}\" at %d opens nothing (a brace that means itself is doubled)", template, i+1)
		case rest[0] == '{':
			name, _, closed := strings.Cut(rest[1:], "}")
			if !closed {
				return nil, fmt.Errorf("template %q: \"{\" at %d is not closed (a brace that means itself is doubled)", template, i+1)
			}
			kind := slices.Index(partNames, name)
			if kind <= 0 {
				return nil, fmt.Errorf("template %q: unknown part {%s} at %d: it is one of %s", template, name, i+1, partList)
			}
			flush()
			m = append(m, Part{Kind: PartKind(kind)})
			i += len(name) + 2
		default:
			literal += rest[:1]
			i++
		}
	}
	flush()
	if len(m) == 0 {
		return nil, fmt.Errorf("template is empty: \"{body}\" signs the body alone")
	}
	return m, nil
}

// MustMessage is ParseMessage for declarations in code; it panics on a
// mistake.
func MustMessage(template string) Message {
	m, err := ParseMessage(template)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return m
}

// String returns the message as a template.
func (m Message) String() string {
	var b strings.Builder
	for _, p := range m {
		switch {
		case p.Kind == PartLiteral:
			b.WriteString(strings.NewReplacer("{", "{{", "}", "}}").Replace(p.Text))
		case int(p.Kind) < len(partNames):
			b.WriteString("{" + partNames[p.Kind] + "}")
		default:
			fmt.Fprintf(&b, "{part %d}", p.Kind)
		}
	}
	return b.String()
}

func (m Message) has(kind PartKind) bool {
	return slices.ContainsFunc(m, func(p Part) bool { return p.Kind == kind })
}

// declared checks the message against the rest of its scheme.
func (m Message) declared(s *Scheme, p *problems) {
	seen := map[PartKind]bool{}
	for i, part := range m {
		switch {
		case int(part.Kind) >= len(partNames):
			p.add("signed", "unknown part %d", part.Kind)
		case part.Kind == PartLiteral:
		case part.Text != "":
			p.add("signed", "{%s} has a text of its own", partNames[part.Kind])
		case seen[part.Kind]:
			p.add("signed", "{%s} occurs more than once", partNames[part.Kind])
		case i > 0 && (part.open() || m[i-1].open()) && part.sent() && m[i-1].sent():
			p.add("signed", "nothing stands between {%s} and {%s}: bytes could be moved from one to the other under the same signature",
				partNames[m[i-1].Kind], partNames[part.Kind])
		}
		seen[part.Kind] = true
	}
	if !seen[PartBody] {
		p.add("signed", "{body} is missing: anybody could change what is not signed")
	}
	switch has := !s.Timestamp.IsZero(); {
	case seen[PartTimestamp] && !has:
		p.add("timestamp", "{ts} is signed, but it is not said where the timestamp stands")
	case has && !seen[PartTimestamp]:
		p.add("signed", "{ts} is missing: a timestamp that is not signed proves nothing")
	}
	switch has := s.ID != ""; {
	case seen[PartID] && !has:
		p.add("id", "{id} is signed, but it is not said which header has the ID")
	case has && !seen[PartID]:
		p.add("signed", "{id} is missing, though a header for it is named")
	}
}

// sent reports whether the part comes out of the request, so that whoever
// sends it may choose it.
func (p Part) sent() bool { return p.Kind != PartLiteral && p.Kind != PartURL }

// open reports whether the part may end anywhere: a timestamp moved by a digit
// is far from the clock, a method is a word; an ID or a target is anything.
func (p Part) open() bool { return p.Kind == PartID || p.Kind == PartTarget }

// check refuses a request whose parts could be cut in another way under the
// same signature: an ID, or a target, that contains the literal which sets it
// off from another part. The Standard Webhooks specification demands the same
// of IDs.
func (m Message) check(t *signedText) Reason {
	for i, p := range m {
		if p.Kind == PartURL && t.url == "" {
			return MissingURL
		}
		if !p.open() {
			continue
		}
		value := t.part(p.Kind)
		before, after := m[:i], m[i+1:]
		if slices.ContainsFunc(before, Part.sent) && blurs(value, before[len(before)-1].Text) ||
			slices.ContainsFunc(after, Part.sent) && blurs(value, after[0].Text) {
			return AmbiguousText
		}
	}
	return 0
}

// blurs reports whether the literal, put on both sides of the value, could be
// found anywhere else. Looking only inside the value would miss a literal that
// overlaps itself: "a--" and "--" have two places where "--" begins.
func blurs(value []byte, literal string) bool {
	var room [256]byte
	joined := append(append(append(room[:0], literal...), value...), literal...)
	return literal != "" && bytes.Index(joined[1:], joined[:len(literal)]) < len(literal)+len(value)-1
}

// signedText is what the parts of a message stand for in one request.
type signedText struct {
	body, timestamp, id, method, target []byte
	url                                 string
}

func textOf(r *Request) signedText {
	return signedText{body: r.Body, method: r.Method, target: r.Target, url: r.URL}
}

// part returns the bytes of a part that comes out of the request, other than
// its body.
func (t *signedText) part(kind PartKind) []byte {
	switch kind {
	case PartTimestamp:
		return t.timestamp
	case PartID:
		return t.id
	case PartMethod:
		return t.method
	case PartTarget:
		return t.target
	case PartLiteral, PartBody, PartURL:
	}
	return nil
}
