// Package index remembers which events the log holds, and where: facts of the
// form "event (source, ID) is at (topic ID, partition, offset)", in Pebble.
//
// The log is the truth and the index a memory of it. It may be deleted, be
// behind or be rebuilt at any time without losing an event, and is never
// fsynced.
//
// # Invariants
//
// Each is followed by why it holds when the process is killed, or the machine
// loses power, at any line. Pebble has one write-ahead log, which is never
// switched off; a crash keeps a prefix of its batches, and a batch whole or not
// at all. More is not asked of the disk.
//
//  1. A fact that Apply has taken is found by every Lookup that starts after
//     Apply has returned. It lies in memory (pending) until its batch is
//     committed, and leaves memory after that; in between it is in both.
//     Crash: the promise ends with the process. What the next one knows is what
//     the prefix holds, and by 2 it reads the rest from the log.
//  2. A checkpoint is never ahead of its facts. It is written in the batch of
//     all facts that are pending when it is taken, or a later one.
//     Crash: a prefix that has the checkpoint has the facts. A prefix without it
//     has an older one or none, and more of the log is read again, which by 3
//     changes nothing.
//  3. The first copy wins: a fact for an event that is known within its window
//     at another place changes nothing, and one at the same place neither.
//     Facts are applied in log order per partition, so reading a stretch of the
//     log twice, or all of it again, gives the same answers.
//     Crash: nothing of this is state.
//  4. A filter says "never added" only of keys that its generation does not
//     have. Filters live in memory and get each key before its fact can be
//     read. A saved one lies in the store: written in one batch, after all facts
//     that it knows, and deleted by the batch that brings a fact it does not
//     know.
//     Crash: a prefix that has the saved filter has it whole and has no fact
//     that it misses. A prefix without it has its generation read at the start.
//  5. A fact answers only for the topic it was read from. It names the topic by
//     a reference that stands for one topic ID and is never used again; when a
//     topic was made anew or cut off (Reset), one batch removes the reference
//     and its checkpoints and takes the next one, and with it every fact that
//     carries the old reference is dead, at once.
//     Crash: before the batch the old topic is still known, and found out again
//     by its ID, or by its checkpoint that lies beyond the end; after it
//     nothing of the old one is left that could answer.
//  6. An ID is known for at least its window. A generation is dropped by one
//     range deletion when all of it lies before the window of the newest record,
//     and never by a clock that is ahead of the log.
//     Crash: dropped or not; what is older than its window does not answer
//     either way, since a look-up compares the fact's own time.
//  7. Damage is never taken for "not known". Blocks, log records and saved
//     filters carry checksums. A store that was found damaged takes nothing
//     more and no longer says of an event that it is new; one that cannot be
//     written likewise.
//     Crash: a store found damaged in use is marked by a file beside it before
//     anybody is told, and is made anew at the next start; if the mark cannot be
//     written either, the damage is still there to be found. Losing power may
//     tear what was not synced: a torn end of the write-ahead log is a shorter
//     prefix, anything else is found by a checksum and the index is made anew.
//
// # Cost
//
// Most IDs are new, so "certainly new" is answered by the filters, one cache
// line for each generation; Pebble is asked where a filter says "maybe". Facts
// are gathered and written many at a time as one batch, which Pebble sorts
// instead of inserting each into its memtable. IDs expire by generation: keys
// begin with the time window they fall in, and a window that has passed goes by
// one range deletion. A generation that is complete is tidied once: merged, its
// filter made as small as it can be, and saved.
package index
