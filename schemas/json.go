package schemas

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// AppendJSON appends the event as one line of CloudEvents JSON
// (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md),
// without a line feed: the attributes, "data" where the body is JSON (white
// space between its tokens is dropped, so that it fits the line) and
// "data_base64" where it is not, is empty, is not UTF-8 or is nested deeper
// than 512 levels, and where it came from: "topic",
// "partition", "offset", "timestamp" (the record's, milliseconds), and
// "headers", all record headers that are no attributes, each a list since
// headers repeat. Bytes of a header that are not UTF-8 are replaced; the
// record has them.
func AppendJSON(dst []byte, e *Event) ([]byte, error) {
	timestamp := e.Timestamp
	if timestamp.IsZero() {
		timestamp = e.Received // What it will be, when the event is produced.
	}
	out := jsonEvent{
		SpecVersion: specVersion,
		ID:          e.ID,
		Source:      e.Source,
		Type:        e.Type,
		Time:        string(appendTime(nil, e.happened())),
		ContentType: e.ContentType,
		Received:    string(appendTime(nil, e.Received)),
		Scheme:      e.Scheme,
		SecretID:    e.SecretID,
		Topic:       e.Position.Topic,
		Partition:   e.Position.Partition,
		Offset:      e.Position.Offset,
		Timestamp:   timestamp.UnixMilli(),
		Headers:     make(map[string][]string, len(e.Headers)+len(e.Extra)+3),
	}
	add := func(name, value string) { out.Headers[name] = append(out.Headers[name], value) }
	add(headerMethod, e.Method)
	add(headerTarget, e.Target)
	if e.URL != "" {
		add(headerURL, e.URL)
	}
	for _, h := range e.Headers {
		add(recordName(h.Name), string(h.Value))
	}
	for _, h := range e.Extra {
		add(h.Name, string(h.Value))
	}
	if readableJSON(e.Body) {
		out.Data = e.Body
	} else {
		s := base64.StdEncoding.EncodeToString(e.Body)
		out.DataBase64 = &s
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(out); err != nil {
		return dst, fmt.Errorf("encode event %s/%s as JSON: %w", e.Source, e.ID, err)
	}
	return append(dst, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...), nil
}

// maxDepth is far beyond what people write, and within what readers take:
// 1,000 levels for Jackson, a few less for Python, 10,000 for Go.
const maxDepth = 512

// readableJSON reports whether the body can stand in a line as it is, for any
// reader. json.Valid alone takes any bytes between quotes, and so many levels
// that with the line's own even Go would not read them.
func readableJSON(body []byte) bool {
	if !json.Valid(body) || !utf8.Valid(body) {
		return false
	}
	depth, quoted := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			if depth++; depth > maxDepth {
				return false
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return true
}

type jsonEvent struct {
	SpecVersion string              `json:"specversion"`
	ID          EventID             `json:"id"`
	Source      SourceName          `json:"source"`
	Type        EventType           `json:"type"`
	Time        string              `json:"time"`
	ContentType string              `json:"datacontenttype,omitempty"`
	Received    string              `json:"receivedtime"`
	Scheme      string              `json:"scheme"`
	SecretID    string              `json:"secretid,omitempty"`
	Topic       string              `json:"topic"`
	Partition   int32               `json:"partition"`
	Offset      int64               `json:"offset"`
	Timestamp   int64               `json:"timestamp"`
	Headers     map[string][]string `json:"headers"`
	Data        json.RawMessage     `json:"data,omitempty"`
	DataBase64  *string             `json:"data_base64,omitempty"`
}
