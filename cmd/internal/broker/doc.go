// Package broker runs the embedded Kafka: one broker without replication,
// inside this process, that serves the Kafka protocol to any client and keeps
// its log in a directory. It is franz-go's kfake with what a log that people
// rely on needs around it.
//
// It promises:
//   - A produce that was acknowledged is on disk (kfake writes and fsyncs each
//     batch before it answers) and survives kill -9 at its offset, in order,
//     without gaps. So do topics made by request, committed offsets, and the
//     sequence numbers of idempotent producers: a batch that is sent again
//     after the kill is not appended again. Topics are not made by themselves,
//     since kfake saves such topics only at a clean stop.
//   - A transaction that was open at the kill is aborted in the log itself, and
//     its producer fenced, before a client can read.
//   - A directory is opened by one process. One that is damaged, or that lacks
//     a part, is refused with the place named, and left as it is: kfake would
//     cut such a log off and go on. Only the torn end of a write that nobody
//     was told of is removed.
//   - Nothing that a client sends and that is not the protocol reaches kfake,
//     which would end the process.
//
// It does not do:
//   - Replication: losing the disk loses the log.
//   - Authentication: whoever reaches the address may read and write. Listen on
//     127.0.0.1 unless the network is trusted.
//   - Compaction, and retention finer than an hour.
//   - Atomic commits across kill -9: kfake writes the marker of a committed
//     transaction to one partition after another and the group's offsets last.
//     A kill in between leaves the transaction committed in some partitions and
//     aborted in the others.
//   - Failing fsyncs: kfake does not look at fsync's answer, so a disk that
//     loses acknowledged writes is not noticed. A failed write is: it is not
//     acknowledged.
//
// Memory grows with the number of batches (some 100 bytes each), not with
// their size; the batches themselves are read from disk.
package broker
