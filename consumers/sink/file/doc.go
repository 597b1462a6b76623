// Package file writes events to files of NDJSON, one line of CloudEvents JSON
// per event (see schemas.AppendJSON), for readers that pick up whole files.
//
// # What it promises
//
// A finished file, "<topic>-<partition>-<first offset>.ndjson", never changes
// and holds whole lines, in offset order. What is being written is hidden, as
// ".<name>.part". After any crash each event of a partition is in exactly one
// finished file of the folder:
//
//   - A flush writes, syncs and closes the file, renames it, and syncs the
//     folder; only then the group commits the offset after its last event.
//   - So a finished file whose events are not committed begins at or beyond the
//     committed offset. On assignment those are deleted, with unfinished ones,
//     before the partition is read again from there.
//
// A reader may see such a file between a crash and the next start, and its
// events again in a file of the same name or of one that begins later.
//
// # What it does not promise
//
// The promise is one folder's. Where several members of a group write folders
// of their own, a crash between rename and commit leaves a finished file in the
// one and the same events in the other; readers of several folders compare
// topic, partition and offset, which each line has. Moving the group's offsets
// back (group seek) into the middle of a file repeats its end in the next one.
//
// A folder has one writer, which holds a lock on it.
package file
