package index

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"

	"hooklog/schemas"
)

// filter answers "certainly never added" from memory. It is a chain of
// split-block Bloom filters (one cache line for each key). A chain grows with
// what is added, so no size has to be known in advance; a new ID asks every
// chunk of it, at about a cache miss each. A filter that is complete is made
// again as one chunk, see tidy.
//
// add is called by one goroutine at a time; has may run at any time and sees
// every key whose add has returned.
type filter struct {
	chunks atomic.Pointer[[]*chunk]
}

const (
	firstChunkKeys = 1 << 16 // 160 KiB: an idle generation costs next to nothing
	quickGrowth    = 1 << 20 // a chain below it grows by three times its size, from it on by half
	bitsPerKey     = 20      // about 0.04 % false answers in a full chunk: one costs as much as 50 look-ups
	wordsPerBlock  = 8       // one cache line
	blockBits      = wordsPerBlock * 64
)

type chunk struct {
	words    []uint64
	blocks   uint64
	capacity int
	keys     int // used by add alone
}

// newFilter returns an empty filter, best for so many keys.
func newFilter(expected int) *filter {
	return filterOf(newChunk(max(firstChunkKeys, expected+expected/8)))
}

func filterOf(chunks ...*chunk) *filter {
	f := &filter{}
	f.chunks.Store(&chunks)
	return f
}

func newChunk(capacity int) *chunk {
	blocks := max(1, (capacity*bitsPerKey+blockBits-1)/blockBits)
	return &chunk{words: make([]uint64, blocks*wordsPerBlock), blocks: uint64(blocks), capacity: capacity}
}

func (f *filter) add(key schemas.EventKey) {
	chunks := *f.chunks.Load()
	last := chunks[len(chunks)-1]
	if last.keys >= last.capacity {
		total := f.capacity()
		more := total / 2
		if total < quickGrowth {
			more = 3 * total
		}
		last = newChunk(max(firstChunkKeys, more))
		grown := append(append(make([]*chunk, 0, len(chunks)+1), chunks...), last)
		f.chunks.Store(&grown)
	}
	last.add(key)
}

func (c *chunk) add(key schemas.EventKey) {
	c.keys++
	block, bitsOf := c.place(key)
	for i := range block {
		atomic.OrUint64(&block[i], 1<<(bitsOf&63))
		bitsOf >>= 6
	}
}

func (f *filter) has(key schemas.EventKey) bool {
	for _, c := range *f.chunks.Load() {
		if c.has(key) {
			return true
		}
	}
	return false
}

func (c *chunk) has(key schemas.EventKey) bool {
	block, bitsOf := c.place(key)
	for i := range block {
		if atomic.LoadUint64(&block[i])&(1<<(bitsOf&63)) == 0 {
			return false
		}
		bitsOf >>= 6
	}
	return true
}

// place returns the key's block, and the bits to use in each of its words, six
// at a time. Keys are hashes already: their halves are independent.
func (c *chunk) place(key schemas.EventKey) ([]uint64, uint64) {
	n, _ := bits.Mul64(key.Hash(), c.blocks)
	return c.words[n*wordsPerBlock : (n+1)*wordsPerBlock], binary.LittleEndian.Uint64(key[8:])
}

// capacity is how many keys the filter is made for.
func (f *filter) capacity() int {
	n := 0
	for _, c := range *f.chunks.Load() {
		n += c.capacity
	}
	return n
}

// bytes is the memory the filter takes.
func (f *filter) bytes() int {
	n := 0
	for _, c := range *f.chunks.Load() {
		n += 8 * len(c.words)
	}
	return n
}
