package signature

import (
	"errors"
	"fmt"
	"time"
)

// ErrNoValidSecret is returned by Sign if no secret is valid at that time.
var ErrNoValidSecret = errors.New("no secret is valid at this time")

// Sign returns the header fields that a sender would add to the request at
// now: signature, timestamp and ID, as far as the scheme has them. Fields that
// are signed but not part of the scheme, such as a content type, are the
// caller's; so are those of the request that Sign would set. An ID is needed
// where the scheme signs one, and has no use elsewhere.
//
// The newest secret that is valid signs: the one with the latest NotBefore,
// and among equals the first. The fields are the caller's.
func (v *Verifier) Sign(r *Request, id string, now time.Time) ([]Field, error) {
	k := v.newest(now)
	if k == nil {
		return nil, fmt.Errorf("sign with %s: %w", v.scheme.Name, ErrNoValidSecret)
	}
	text := textOf(r)
	var fields []Field
	if ts := v.scheme.Timestamp; !ts.IsZero() {
		text.timestamp = ts.Unit.append(nil, now)
		if _, ok := ts.Unit.parse(text.timestamp); !ok {
			return nil, fmt.Errorf("sign with %s: its timestamps cannot express %v", v.scheme.Name, now)
		}
		if ts.Header != "" {
			fields = append(fields, Field{Name: []byte(ts.Header), Value: text.timestamp})
		}
	}
	if v.scheme.ID != "" {
		if id == "" || !visible(id) {
			return nil, fmt.Errorf("sign with %s: %q cannot be an ID in the header %s", v.scheme.Name, id, v.scheme.ID)
		}
		text.id = []byte(id)
		fields = append(fields, Field{Name: []byte(v.scheme.ID), Value: text.id})
	}
	if reason := v.scheme.Signed.check(&text); reason != 0 {
		return nil, fmt.Errorf("sign with %s: %w", v.scheme.Name, &Error{Reason: reason})
	}
	signature := k.sign(v.scheme.Signed, &text, v.scheme.Encoding)
	return append(fields, Field{Name: []byte(v.scheme.Header), Value: v.layout.write(signature, text.timestamp)}), nil
}

func (v *Verifier) newest(now time.Time) *key {
	var newest *key
	for _, k := range v.keys {
		if k.valid(now) && (newest == nil || k.notBefore.After(newest.notBefore)) {
			newest = k
		}
	}
	return newest
}
