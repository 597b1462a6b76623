// Package spool keeps events that were acknowledged and are not in the log yet,
// on disk.
//
// Its store is precious: it holds the only copy of what a provider will not send
// again. So, unlike the index, every entry is fsynced before Put returns, a
// store that cannot be read is never made anew but an error that says what to
// do, and what cannot be written to the log is set aside and kept.
//
// # Invariants
//
//  1. An entry is durable when Put returns nil: its batch and all before it were
//     fsynced. A batch whose fsync failed was not, and nothing more is
//     acknowledged until the store has been opened anew and read.
//  2. There is one entry for an event at a time. Put of an event that has one
//     returns that one, once it is durable.
//  3. An entry leaves the store only by Delete, whose caller knows that the log
//     holds the event, and that a fact says so. Deletions are not fsynced: one
//     that a crash takes back leaves an entry whose event the index knows, and
//     it is deleted again.
//  4. Entries are handed out oldest first. An entry is with its taker until it is
//     deleted, returned or set aside; only one can have it.
//
// The store is bounded in bytes, and by what must stay free of the disk: full is
// ErrFull, never a drop. How old an entry is does not matter.
package spool
