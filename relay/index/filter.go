package index

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"

	"hooklog/schemas"
)

// filter answers "certainly never added" from memory. It is a chain of
// split-block Bloom filters (one cache line for each key), each larger than the
// one before it, so that no size has to be known in advance. A new ID asks all
// of them, at about a cache miss each: one million keys have three, six million
// five.
//
// add is called by one goroutine at a time; has may run at any time and sees
// every key whose add has returned.
type filter struct {
	chunks atomic.Pointer[[]*chunk]
}

const (
	firstChunkKeys = 1 << 16 // 128 KiB: an idle generation costs next to nothing
	quickGrowth    = 1 << 20 // below it the next chunk is four times as large, from it on twice
	bitsPerKey     = 16      // about 0.3 % false answers in a full chunk
	wordsPerBlock  = 8       // one cache line
)

type chunk struct {
	words    []uint64
	blocks   uint64
	capacity int
	keys     int // used by add alone
}

func newFilter() *filter {
	f := &filter{}
	f.chunks.Store(&[]*chunk{newChunk(firstChunkKeys)})
	return f
}

func newChunk(capacity int) *chunk {
	blocks := capacity * bitsPerKey / (wordsPerBlock * 64)
	return &chunk{words: make([]uint64, blocks*wordsPerBlock), blocks: uint64(blocks), capacity: capacity}
}

func (f *filter) add(key schemas.EventKey) {
	chunks := *f.chunks.Load()
	last := chunks[len(chunks)-1]
	if last.keys == last.capacity {
		growth := 2
		if last.capacity < quickGrowth {
			growth = 4
		}
		last = newChunk(growth * last.capacity)
		grown := append(append(make([]*chunk, 0, len(chunks)+1), chunks...), last)
		f.chunks.Store(&grown)
	}
	last.keys++
	block, bitsOf := last.place(key)
	for i := range block {
		atomic.OrUint64(&block[i], 1<<(bitsOf&63))
		bitsOf >>= 6
	}
}

func (f *filter) has(key schemas.EventKey) bool {
	chunks := *f.chunks.Load()
	for i := len(chunks) - 1; i >= 0; i-- { // the largest first: it holds half of all keys
		if chunks[i].has(key) {
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

// bytes is the memory the filter takes.
func (f *filter) bytes() int {
	n := 0
	for _, c := range *f.chunks.Load() {
		n += 8 * len(c.words)
	}
	return n
}
