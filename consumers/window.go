package consumers

import "sync/atomic"

// mark is a position that can be committed: the next offset to read, and the
// leader epoch of the record before it, or -1.
type mark struct {
	offset int64
	epoch  int32
}

// flight is one record between poll and its final outcome.
type flight struct {
	offset int64
	epoch  int32
	done   bool
	// begun is set when something was done for the record, so that leaving it
	// without an outcome is worth a word.
	begun atomic.Bool
}

// window is what is in flight of one partition, in offset order. Offsets need
// not follow each other: aborted transactions and compaction leave gaps. The
// zero value is not usable; set low first.
type window struct {
	flights []*flight
	// low is the mark before which everything has a final outcome.
	low mark
}

// add notes that a record is in flight.
func (w *window) add(offset int64, epoch int32) *flight {
	f := &flight{offset: offset, epoch: epoch}
	w.flights = append(w.flights, f)
	return f
}

// done notes a final outcome, and moves low over all that is done from the
// front.
func (w *window) done(f *flight) {
	f.done = true
	n := 0
	for n < len(w.flights) && w.flights[n].done {
		w.low = mark{w.flights[n].offset + 1, w.flights[n].epoch}
		w.flights[n] = nil
		n++
	}
	w.flights = w.flights[n:]
}
