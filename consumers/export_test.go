package consumers

// What tests of the package's inside need.
var (
	RetryWait = func(r Retry, n int, err error, roll float64) string {
		return r.wait(n, err, roll).String()
	}
	WorstOf     = worst
	OutcomeNone = outcomeNone
)

const (
	QueueRecords = queueRecords
	MaxAhead     = maxAhead
)
