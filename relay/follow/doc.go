// Package follow keeps an index true to its topics: it is the projection of the
// log that the index holds.
//
// The simple idea: for each partition, know which offsets the index already
// covers, and read the others. A relay's own acknowledged records are covered
// by Commit, from what the relay knows of them, and are not fetched and decoded
// a second time; so what is read is only what came before this process, what
// other producers wrote, and what a late acknowledgement left open.
//
// It promises that a checkpoint is never ahead of the facts before it, that the
// end it reads to is that of the leader's log, taken once and awaited (records
// that replicas lack become readable when these have them or are given up;
// aborted and control records count as read, an open transaction is waited
// for), and that a
// log that lost records, or was made anew, takes its facts with it before
// anything more is answered from them. Until the whole window of every topic
// has been read it is not CaughtUp.
//
// A log that lost records shows in three ways: it ends before what was covered;
// its leader says that the epoch in which it was seen to reach an offset ended
// before that offset; or it is another topic. The first two are compared at
// each refresh and with the checkpoints at the start, so a log that was cut off
// and has grown again while nobody looked is found, too.
//
// Records are fetched by plain Fetch requests and not by the client's consumer:
// that asks for metadata whenever a partition is added and drops its connection
// whenever one is removed, which here happens many times a second.
package follow
