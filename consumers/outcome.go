package consumers

// Outcome is how a consumed record ended. The set is closed: every record ends
// in exactly one, which is counted, and only then its offset is committed. A
// record that was given up because the group stopped or lost its partition has
// none yet; it comes again.
type Outcome uint8

// The values are in order: an event's outcome is the worst of its routes'.
const (
	outcomeNone Outcome = iota
	// Unrouted means that no route matched.
	Unrouted
	// Handled means that the handler returned nil, or that the sink made the
	// event durable.
	Handled
	// DeadLettered means that the dead letter was acknowledged.
	DeadLettered
	// Internal means that the path ended without an outcome: a bug. The
	// record's offset is not committed.
	Internal
)

var outcomeNames = [...]string{outcomeNone: "none", Unrouted: "unrouted", Handled: "handled", DeadLettered: "dead_lettered", Internal: "internal"}

// String returns the outcome's metric label.
func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return outcomeNames[Internal]
}

// final reports whether the record's offset may be committed.
func (o Outcome) final() bool {
	switch o {
	case Unrouted, Handled, DeadLettered:
		return true
	case outcomeNone, Internal:
	}
	return false
}

// worst returns the outcome of an event that ended in a on one route and in b
// on another. A route without an outcome leaves the event without one.
func worst(a, b Outcome) Outcome {
	if a == outcomeNone || b == outcomeNone {
		return outcomeNone
	}
	return max(a, b)
}
