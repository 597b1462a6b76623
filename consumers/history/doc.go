// Package history reads the log again without a consumer group: what lies
// between two positions, to its end, in order of time.
//
// A bounded read ends. Its end is the high watermark, taken once; it is read
// as committed, with control records, so that a transaction's marker or
// aborted records at the end count as read, and a transaction that is open
// there is waited for. Nothing is committed, created or changed.
package history
