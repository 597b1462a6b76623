package relay

// Outcome is how a request ended. Every request ends in exactly one. The zero
// value is the outcome of a path that forgot to say: a bug of ours.
type Outcome uint8

// The closed set of outcomes.
const (
	Internal Outcome = iota
	Accepted
	Duplicate
	Spooled
	Handshake
	Aborted
	BadRequest
	MissingSignature
	BadSignature
	StaleTimestamp
	HandshakeRefused
	UnknownSource
	MethodNotAllowed
	RequestTimeout
	BodyTooLarge
	HeadersTooLarge
	RateLimited
	Overloaded
	LogUnavailable
	SpoolFull
	NotReady
	VerifierUnavailable

	outcomeCount
)

type outcomeInfo struct {
	code   string // metric label, and the code of a problem
	status int
	title  string
}

var outcomes = [outcomeCount]outcomeInfo{
	Internal:            {"internal", 500, "Internal error"},
	Accepted:            {"accepted", 200, "Accepted"},
	Duplicate:           {"duplicate", 200, "Duplicate"},
	Spooled:             {"spooled", 200, "Spooled"},
	Handshake:           {"handshake", 200, "Handshake"},
	Aborted:             {"aborted", 400, "Request aborted"},
	BadRequest:          {"bad_request", 400, "Bad request"},
	MissingSignature:    {"missing_signature", 401, "Signature missing"},
	BadSignature:        {"bad_signature", 401, "Signature refused"},
	StaleTimestamp:      {"stale_timestamp", 401, "Timestamp outside the tolerance"},
	HandshakeRefused:    {"handshake_refused", 403, "Handshake refused"},
	UnknownSource:       {"unknown_source", 404, "Unknown source"},
	MethodNotAllowed:    {"method_not_allowed", 405, "Method not allowed"},
	RequestTimeout:      {"request_timeout", 408, "Request timeout"},
	BodyTooLarge:        {"body_too_large", 413, "Body too large"},
	HeadersTooLarge:     {"headers_too_large", 431, "Headers too large"},
	RateLimited:         {"rate_limited", 429, "Rate limited"},
	Overloaded:          {"overloaded", 503, "Overloaded"},
	LogUnavailable:      {"log_unavailable", 503, "Log unavailable"},
	SpoolFull:           {"spool_full", 503, "Spool full"},
	NotReady:            {"not_ready", 503, "Not ready"},
	VerifierUnavailable: {"verifier_unavailable", 503, "Verifier unavailable"},
}

// String returns the outcome's metric label, which is also the code of a
// refusal.
func (o Outcome) String() string { return outcomes[o].code }

// Status returns the HTTP status the outcome is answered with.
func (o Outcome) Status() int { return outcomes[o].status }

// IsBug reports whether the outcome means a mistake of ours.
func (o Outcome) IsBug() bool { return o == Internal }

// durable reports whether the outcome promises the sender that the event is
// kept.
func (o Outcome) durable() bool { return o == Accepted || o == Duplicate || o == Spooled }
