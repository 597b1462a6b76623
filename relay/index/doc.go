// Package index remembers which events the log holds, and where: facts of the
// form "event (source, ID) is at (topic ID, partition, offset)", in Pebble.
//
// The log is the truth and the index a memory of it. The index may be deleted,
// be behind or be rebuilt at any time without losing an event; it is never
// fsynced. It promises:
//
//   - A fact that Apply has taken is found by every Lookup that starts after
//     Apply has returned.
//   - The first copy wins: a fact for an event that is known within the window
//     at another place changes nothing. Facts are applied in log order per
//     partition, so the same log gives the same answers after a rebuild.
//   - A checkpoint never runs ahead of the facts before it. Pebble has one
//     write-ahead log and a crash keeps a prefix of it; a checkpoint is written
//     in the batch of its facts or a later one.
//   - A fact answers only for the topic it was read from. It names the topic by
//     an internal reference that stands for one topic ID; once a topic was
//     recreated or cut off (Reset), its old reference is dead and with it, at
//     once, every fact that carries it.
//   - Damage is never taken for "not known". A store that is found damaged, or
//     cannot be written, takes nothing more and no longer says of an event that
//     it is new. A damaged one is made anew at the next start.
//
// Most IDs are new, so "certainly new" is answered from memory: each generation
// has a filter, and Pebble is asked only where a filter says "maybe". IDs expire
// by generation: keys begin with the time window they fall in, and a window that
// has passed is dropped by one range deletion.
package index
