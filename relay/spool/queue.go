package spool

import "container/heap"

// queue is the entries that wait, by sequence number. Most are pushed in order,
// which costs a heap nothing; those that are returned are older.
type queue struct{ entries entryHeap }

func (q *queue) len() int { return len(q.entries) }

func (q *queue) push(e *Entry) { heap.Push(&q.entries, e) }

// pop returns the oldest, or nil.
func (q *queue) pop() *Entry {
	if len(q.entries) == 0 {
		return nil
	}
	return heap.Pop(&q.entries).(*Entry)
}

// peek returns the oldest, which stays, or nil.
func (q *queue) peek() *Entry {
	if len(q.entries) == 0 {
		return nil
	}
	return q.entries[0]
}

// remove takes out an entry that is in it.
func (q *queue) remove(e *Entry) { heap.Remove(&q.entries, e.place) }

// entryHeap implements heap.Interface.
type entryHeap []*Entry

func (h entryHeap) Len() int           { return len(h) }
func (h entryHeap) Less(i, j int) bool { return h[i].seq < h[j].seq }
func (h entryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *entryHeap) Push(x any) {
	e := x.(*Entry)
	e.place = len(*h)
	*h = append(*h, e)
}

func (h *entryHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}
