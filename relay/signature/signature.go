// Package signature judges whether the bytes of a request were signed with
// one of several secrets, recently.
//
// How a provider signs is a Scheme, which is data. New binds a Scheme to
// secrets and makes a Verifier, which judges requests and signs them. All that
// a scheme declares is checked in New, so a Verifier that exists works:
// without secrets, or with a secret that is no key of the scheme, there is
// none.
//
// Verify promises that an accepted request carries exactly the signature that
// the scheme prescribes, made with a secret that was valid at that time, over
// exactly the bytes that were received:
//
//   - Nothing is parsed that is not signed, and the body is never parsed.
//   - The signature that would have been right is written in the scheme's one
//     canonical form and compared as text, in constant time, with what was
//     sent. Other spellings of it (upper-case hex, base64 with stray bits,
//     blanks) are refused without a rule for each.
//   - Any of the signatures sent may match any of the secrets. Both are
//     bounded, so the work is at most the bound on secrets times one pass over
//     the body.
//   - A field that the scheme reads occurs once. Two are refused, since
//     another reader of the same request might choose the other one.
//   - The signature is checked before the age. So "stale" is said of genuine
//     requests only (a replay, or a clock that is wrong), and a forged one
//     learns nothing but that it is forged.
//
// The package does not know providers, see hooklog/relay/preset. It does not
// remember requests either: within the tolerance a copy is as good as the
// original, and telling them apart is the index's work.
package signature

import (
	"cmp"
	"slices"
	"time"
)

// DefaultTolerance is how old a signed timestamp may be, or how far ahead,
// where a scheme does not say. It is what Stripe, Slack, Svix and the Standard
// Webhooks libraries use: longer than a retry with a fresh signature takes,
// and short enough that the window of IDs outlasts it by far.
const DefaultTolerance = 5 * time.Minute

// Verifier judges requests of one sender. It is made by New, immutable and
// safe for concurrent use. The zero value refuses everything.
type Verifier struct {
	scheme    Scheme
	layout    layout
	keys      []*key
	tolerance time.Duration
}

// Result is what is known of a request that Verify accepted.
type Result struct {
	// SecretID names the secret that verified it.
	SecretID string
	// Timestamp is the signed timestamp, in UTC; zero for schemes that sign
	// none.
	Timestamp time.Time
}

// New returns a Verifier for requests signed with any of the secrets. A
// tolerance of zero is the scheme's own; schemes without a timestamp have no
// use for it. The error joins a *FieldError for everything that is wrong with
// the scheme, the secrets or the tolerance.
//
// New keeps neither of the slices it is given.
func New(scheme Scheme, secrets []Secret, tolerance time.Duration) (*Verifier, error) {
	var p problems
	scheme.check(&p)
	if tolerance < 0 {
		p.add("tolerance", "%v is negative", tolerance)
	}
	keys := newKeys(&scheme, secrets, &p)
	if err := p.join(); err != nil {
		return nil, err
	}
	scheme.Signed = slices.Clone(scheme.Signed)
	return &Verifier{
		scheme:    scheme,
		layout:    newLayout(&scheme),
		keys:      keys,
		tolerance: cmp.Or(tolerance, scheme.Tolerance, DefaultTolerance),
	}, nil
}

// Scheme returns the name of the scheme.
func (v *Verifier) Scheme() string { return v.scheme.Name }

// SignsURL reports whether the public URL is part of what is signed, so that
// Request.URL must be set.
func (v *Verifier) SignsURL() bool { return v.scheme.Signed.has(PartURL) }

// SecretIDs returns the IDs of the secrets in the order they were given, each
// once.
func (v *Verifier) SecretIDs() []string {
	var ids []string
	for _, k := range v.keys {
		if !slices.Contains(ids, k.id) {
			ids = append(ids, k.id)
		}
	}
	return ids
}

// Verify judges a request as received at now. The error is an *Error.
//
// Verify neither changes nor keeps anything of the request. It allocates
// nothing for a request that it accepts.
func (v *Verifier) Verify(r *Request, now time.Time) (Result, error) {
	if len(v.keys) == 0 {
		return Result{}, &Error{Reason: NoValidSecret}
	}
	var sent elements
	text, at, err := v.read(r, &sent)
	if err != nil {
		return Result{}, err
	}
	k, err := v.match(&text, sent.signatures[:sent.n], now)
	if err != nil {
		return Result{}, err
	}
	if err := v.checkAge(at, now); err != nil {
		return Result{}, err
	}
	return Result{SecretID: k.id, Timestamp: at}, nil
}

// read finds what the scheme needs of the request: each part is there, once,
// and written as the scheme writes it.
func (v *Verifier) read(r *Request, sent *elements) (text signedText, at time.Time, err *Error) {
	text = textOf(r)
	value, err := v.field(r, v.scheme.Header, MissingSignature)
	if err != nil {
		return text, at, err
	}
	if reason := v.layout.scan(value, sent); reason != 0 {
		return text, at, &Error{Reason: reason, Header: v.scheme.Header}
	}
	if ts := v.scheme.Timestamp; !ts.IsZero() {
		header := ts.Header
		text.timestamp = sent.timestamp
		if header == "" {
			header = v.scheme.Header
		} else if text.timestamp, err = v.field(r, header, MissingTimestamp); err != nil {
			return text, at, err
		}
		var ok bool
		if at, ok = ts.Unit.parse(text.timestamp); !ok {
			return text, at, &Error{Reason: MalformedTimestamp, Header: header}
		}
	}
	if v.scheme.ID != "" {
		if text.id, err = v.field(r, v.scheme.ID, MissingID); err != nil {
			return text, at, err
		}
	}
	if reason := v.scheme.Signed.check(&text); reason != 0 {
		return text, at, &Error{Reason: reason}
	}
	return text, at, nil
}

// field returns the value of a header that must be there, once.
func (v *Verifier) field(r *Request, name string, missing Reason) ([]byte, *Error) {
	switch value, n := r.Header(name); {
	case n > 1:
		return nil, &Error{Reason: DuplicateHeader, Header: name}
	case len(value) == 0:
		return nil, &Error{Reason: missing, Header: name}
	default:
		return value, nil
	}
}

// match returns the first key, valid at now, that made one of the signatures.
func (v *Verifier) match(text *signedText, signatures [][]byte, now time.Time) (*key, *Error) {
	tried := false
	for _, k := range v.keys {
		if !k.valid(now) {
			continue
		}
		tried = true
		if k.signed(v.scheme.Signed, text, v.scheme.Encoding, signatures) {
			return k, nil
		}
	}
	if !tried {
		return nil, &Error{Reason: NoValidSecret}
	}
	return nil, &Error{Reason: BadSignature, Header: v.scheme.Header}
}

// checkAge holds the signed time against the clock, in both directions: a
// timestamp far ahead could be replayed until it comes to pass.
func (v *Verifier) checkAge(at, now time.Time) *Error {
	if v.scheme.Timestamp.IsZero() {
		return nil
	}
	switch age := now.Sub(at); {
	case age > v.tolerance:
		return &Error{Reason: StaleTimestamp, Age: age, Tolerance: v.tolerance}
	case age < -v.tolerance:
		return &Error{Reason: FutureTimestamp, Age: age, Tolerance: v.tolerance}
	default:
		return nil
	}
}
