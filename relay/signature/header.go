package signature

import "bytes"

// maxSignatures bounds how many signatures one request may carry. A sender in
// the middle of a rotation needs two; far more are an attempt to make work.
const maxSignatures = 16

// layout is a scheme's notation of the signature header, ready for scan.
type layout struct {
	separator, assign, label, timestamp, prefix []byte
	// timestamped says whether the list carries a timestamp.
	timestamped bool
	// size is the length of a signature's text, and alphabet what it may
	// consist of, by byte.
	size     int
	alphabet [256]bool
}

func newLayout(s *Scheme) layout {
	l := layout{
		separator:   []byte(s.List.Separator),
		assign:      []byte(s.List.Assign),
		label:       []byte(s.List.Label),
		timestamp:   []byte(s.Timestamp.Label),
		timestamped: s.Timestamp.Label != "",
		prefix:      []byte(s.Prefix),
		size:        s.Encoding.size(s.Algorithm.size()),
	}
	for _, c := range []byte(s.Encoding.alphabet()) {
		l.alphabet[c] = true
	}
	return l
}

// elements are what was found in a signature header, as slices of it.
type elements struct {
	signatures [maxSignatures][]byte
	n          int // of signatures that could be one
	malformed  int // others under the right label
	timestamp  []byte
	timestamps int
}

// scan collects signatures and timestamp from a header's value, which is not
// empty. It is zero if there is at least one signature that could be genuine
// and, where the list carries one, exactly one timestamp. A body is not hashed
// for less.
func (l *layout) scan(value []byte, e *elements) Reason {
	if len(l.separator) == 0 {
		l.add(value, e)
	}
	for more := len(l.separator) > 0; more; {
		var element []byte
		element, value, more = bytes.Cut(value, l.separator)
		label, text, labelled := []byte(nil), element, true
		if len(l.assign) > 0 {
			label, text, labelled = bytes.Cut(element, l.assign)
		}
		switch {
		case !labelled:
		case l.timestamped && bytes.Equal(label, l.timestamp):
			e.timestamp = text
			e.timestamps++
		case bytes.Equal(label, l.label):
			if !l.add(text, e) {
				return TooManySignatures
			}
		}
	}
	switch {
	case e.n+e.malformed == 0:
		return MissingSignature
	case e.n == 0:
		return MalformedSignature
	case e.timestamps > 1:
		return DuplicateTimestamp
	case l.timestamped && len(e.timestamp) == 0:
		return MissingTimestamp
	}
	return 0
}

// add takes the text of one signature; it reports whether there was room.
func (l *layout) add(text []byte, e *elements) bool {
	if e.n+e.malformed == maxSignatures {
		return false
	}
	text, ok := bytes.CutPrefix(text, l.prefix)
	if !ok || !l.wellFormed(text) {
		e.malformed++
		return true
	}
	e.signatures[e.n] = text
	e.n++
	return true
}

// wellFormed tells a signature that is not genuine from a text that is none,
// for the message's sake; what is genuine is decided by comparison alone.
func (l *layout) wellFormed(text []byte) bool {
	if len(text) != l.size {
		return false
	}
	for _, c := range text {
		if !l.alphabet[c] {
			return false
		}
	}
	return true
}

// write returns a header with one signature.
func (l *layout) write(signature, timestamp []byte) []byte {
	var b []byte
	if l.timestamped {
		b = append(b, l.timestamp...)
		b = append(b, l.assign...)
		b = append(b, timestamp...)
		b = append(b, l.separator...)
	}
	b = append(b, l.label...)
	b = append(b, l.assign...)
	b = append(b, l.prefix...)
	return append(b, signature...)
}
