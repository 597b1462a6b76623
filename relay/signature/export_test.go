package signature

// MaxSignatures and MaxSecrets are the bounds.
const (
	MaxSignatures = maxSignatures
	MaxSecrets    = maxSecrets
)

// Scan reads a signature header as Verify does.
func Scan(s *Scheme, value []byte) (signatures [][]byte, timestamp []byte, reason Reason) {
	l := newLayout(s)
	var e elements
	reason = l.scan(value, &e)
	return e.signatures[:e.n], e.timestamp, reason
}

// Parse reads a timestamp as Verify does.
var Parse = Unit.parse
