//go:build race

package relay_test

// raceEnabled: under the race detector a pool drops things at random.
const raceEnabled = true
