package signature

import (
	"fmt"
	"time"
)

// Codes are what a sender is told. They are part of hooklog's public surface.
const (
	CodeMissing = "missing_signature" // the request lacks something that the scheme needs
	CodeBad     = "bad_signature"     // it is there, but it is not right
	CodeStale   = "stale_timestamp"   // it is right, but not of now
)

// Reason is the check that a request failed. Zero is none of them.
type Reason uint8

// Reasons for which Verify refuses a request.
const (
	MissingSignature   Reason = iota + 1 // no signature, or none under the scheme's label
	MalformedSignature                   // no text that could be a signature of the scheme
	TooManySignatures
	BadSignature     // well-formed, and made with none of the valid secrets over these bytes
	MissingTimestamp // the scheme signs one
	MalformedTimestamp
	DuplicateTimestamp // the signature header has two
	StaleTimestamp     // genuine, and older than the tolerance
	FutureTimestamp    // genuine, and further ahead than the tolerance
	MissingID          // the scheme signs one
	AmbiguousText      // the ID or the target contains the separator next to it
	DuplicateHeader    // a header that the scheme reads occurs twice
	MissingURL         // the scheme signs the public URL, and none is configured
	NoValidSecret      // all secrets are too new or too old
)

// reasons has a name and a hint for each Reason, in their order.
var reasons = [...]struct{ name, code, text, hint string }{
	MissingSignature: {
		"missing_signature", CodeMissing, "there is no signature",
		"is a secret set at the sender, and is this its scheme?",
	},
	MalformedSignature: {
		"malformed_signature", CodeBad, "there is no signature in the form that the scheme prescribes",
		"compare prefix, encoding and algorithm with the sender's documentation",
	},
	TooManySignatures: {
		"too_many_signatures", CodeBad, "there are more signatures than any sender needs",
		"no sender is known to do this",
	},
	BadSignature: {
		"bad_signature", CodeBad, "no signature was made with one of the secrets over these bytes",
		"is it the secret of this endpoint, and does a proxy change the body?",
	},
	MissingTimestamp: {
		"missing_timestamp", CodeMissing, "there is no timestamp",
		"is this the sender's scheme?",
	},
	MalformedTimestamp: {
		"malformed_timestamp", CodeBad, "the timestamp is not written as the scheme prescribes",
		"compare its unit with the sender's documentation",
	},
	DuplicateTimestamp: {
		"duplicate_timestamp", CodeBad, "there are several timestamps",
		"no sender is known to do this",
	},
	StaleTimestamp: {
		"stale_timestamp", CodeStale, "the signature is genuine, but too old",
		"is this machine's clock right? else it is a replay, or the sender's retries keep their signature",
	},
	FutureTimestamp: {
		"future_timestamp", CodeStale, "the signature is genuine, but from the future",
		"is this machine's clock right?",
	},
	MissingID: {
		"missing_id", CodeMissing, "there is no ID",
		"is this the sender's scheme?",
	},
	AmbiguousText: {
		"ambiguous_text", CodeBad, "the ID or the target contains the separator that ends it in the signed text",
		"the sender must not use it there",
	},
	DuplicateHeader: {
		"duplicate_header", CodeBad, "the header occurs more than once",
		"does a proxy add it?",
	},
	MissingURL: {
		"missing_url", CodeBad, "the public URL is signed, and none is configured",
		"set the source's url to the address that is entered at the sender",
	},
	NoValidSecret: {
		"no_valid_secret", CodeBad, "no secret is valid at this time",
		"look at not_before and not_after of the secrets",
	},
}

// String returns the reason's name, such as "future_timestamp".
func (r Reason) String() string {
	if r.known() {
		return reasons[r].name
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

// Code returns what the sender is told: CodeMissing, CodeBad or CodeStale.
func (r Reason) Code() string {
	if r.known() {
		return reasons[r].code
	}
	return CodeBad
}

// Hint says what an operator should look at first.
func (r Reason) Hint() string {
	if r.known() {
		return reasons[r].hint
	}
	return ""
}

func (r Reason) known() bool { return r > 0 && int(r) < len(reasons) }

// Error says why a request was refused. It never holds a secret, a signature
// or anything that was expected.
type Error struct {
	Reason Reason
	// Header is the field that the check was about; empty if it was none.
	Header string
	// Age of the timestamp, negative if it lies ahead, and the Tolerance it
	// exceeds; zero for other reasons.
	Age, Tolerance time.Duration
}

// Code returns what the sender is told, see Reason.Code.
func (e *Error) Code() string { return e.Reason.Code() }

// Error says which check failed, for the operator.
func (e *Error) Error() string {
	text := e.Reason.String()
	if e.Reason.known() {
		text = reasons[e.Reason].text
	}
	if e.Header != "" {
		text = e.Header + ": " + text
	}
	if e.Age != 0 {
		text += fmt.Sprintf(": it is %v off, the tolerance is %v", e.Age.Abs().Round(time.Second), e.Tolerance)
	}
	return text
}
