// Package preset holds what is known of each provider, as data: how it signs,
// where the event's ID, type and time stand, and what to do with its requests
// while the log cannot be written.
//
// A preset promises nothing by itself. It is turned into a verifier by
// signature.New, together with the secrets. What it claims about a provider is
// held against requests signed by the provider's own libraries, see
// testdata/vectors.
package preset

import (
	"slices"
	"strings"

	"hooklog/relay/signature"
	"hooklog/schemas"
)

// Outage says what a provider's requests should get while the log cannot be
// written. It follows from what the provider does with a refused request.
type Outage uint8

const (
	// Reject answers 503: the provider keeps the event and sends it again,
	// for longer than an outage lasts.
	Reject Outage = iota
	// Spool keeps the event on disk and answers 200: the provider would not
	// send it again.
	Spool
)

// String returns the name in a configuration: "reject" or "spool".
func (o Outage) String() string {
	if o == Spool {
		return "spool"
	}
	return "reject"
}

// Preset is what is known of a provider. Presets are shared: nothing in them
// may be changed.
type Preset struct {
	// Name is how a configuration refers to it, and the name of its scheme.
	Name string
	// Title is the provider's own name for its webhooks.
	Title string
	// Scheme says how requests are signed.
	Scheme signature.Scheme
	// ID, Type and Time say where these stand in a request. A zero one: the
	// provider does not say.
	ID, Type, Time schemas.Extractor
	// Outage is the default that fits the provider's retries.
	Outage Outage
	// Docs is the address of the provider's description.
	Docs string
	// SecretHint tells where the secret is found, and what it looks like.
	SecretHint string
}

// Lookup returns the preset of that name.
func Lookup(name string) (Preset, bool) {
	for _, p := range presets {
		if p.Name == name {
			return p, true
		}
	}
	return Preset{}, false
}

// Names returns the names of all presets, sorted. The slice is the caller's.
func Names() []string {
	names := make([]string, 0, len(presets))
	for _, p := range presets {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return names
}

// Nearest returns the preset's name that was most likely meant by a name that
// is none, and whether any is close enough to suggest it.
func Nearest(name string) (string, bool) {
	name = strings.ToLower(name)
	best, least := "", len(name)
	for _, candidate := range Names() {
		if d := distance(name, candidate); d < least {
			best, least = candidate, d
		}
	}
	// A third of the letters may be wrong, and of a short name one.
	return best, best != "" && least <= max(1, len(best)/3)
}

// distance is the least number of letters to insert, delete, replace or swap
// with the next one, to turn a into b.
func distance(a, b string) int {
	// Three rows of the table: swaps look back two.
	above, row, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next[j+1] = min(row[j]+cost, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], above[j-1]+1)
			}
		}
		above, row, next = row, next, above
	}
	return row[len(b)]
}
