package index

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/cockroachdb/pebble/v2"
)

// A saved filter spares the next start a scan of its generation. It lies in the
// store beside the facts, so one write-ahead log orders both:
//
//   - it is written in one batch, after every fact whose key it has to know;
//   - the first batch after it that brings a fact with a further key deletes it.
//
// Whatever prefix of the log a crash keeps, a saved filter that is there knows
// every fact that is there.
//
// Part 0 is the header: ids u64, sum of all words u32, number of chunks u32, and
// for each chunk its blocks, capacity and keys, u64 each. The other parts are
// the words, little-endian, in order.

const (
	savedHeaderSize = 8 + 4 + 4
	savedChunkSize  = 3 * 8
	savedPartSize   = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// setSaved adds a generation's filter to a batch, in place of one that is there.
// The caller holds x.mu.
func setSaved(b *pebble.Batch, g *generation, f *filter, ids int64) error {
	if err := b.DeleteRange(savedStart(g.id), savedStart(g.id+1), nil); err != nil {
		return err
	}
	chunks := *f.chunks.Load()
	sum, n := uint32(0), uint32(0)
	part := make([]byte, 0, savedPartSize)
	flush := func() error {
		n++
		sum = crc32.Update(sum, castagnoli, part)
		err := b.Set(savedKey(g.id, n), part, nil)
		part = part[:0]
		return err
	}
	for _, c := range chunks {
		for _, w := range c.words {
			part = binary.LittleEndian.AppendUint64(part, w)
			if len(part) == savedPartSize {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	if len(part) > 0 {
		if err := flush(); err != nil {
			return err
		}
	}
	header := binary.BigEndian.AppendUint64(make([]byte, 0, savedHeaderSize+savedChunkSize*len(chunks)), uint64(ids))
	header = binary.BigEndian.AppendUint32(header, sum)
	header = binary.BigEndian.AppendUint32(header, uint32(len(chunks)))
	for _, c := range chunks {
		for _, v := range []uint64{c.blocks, uint64(c.capacity), uint64(c.keys)} {
			header = binary.BigEndian.AppendUint64(header, v)
		}
	}
	return b.Set(savedKey(g.id, 0), header, nil)
}

// savedFilter is one that is being read.
type savedFilter struct {
	filter *filter
	ids    int64
	want   uint32 // the sum of the words as the header has it
	sum    uint32
	parts  uint32 // read so far, the header included
	chunk  int    // where the next word goes
	word   int
}

// read takes the next part.
func (s *savedFilter) read(n uint32, v []byte) error {
	if n != s.parts {
		return fmt.Errorf("part %d follows %d parts", n, s.parts)
	}
	s.parts++
	if n == 0 {
		return s.readHeader(v)
	}
	s.sum = crc32.Update(s.sum, castagnoli, v)
	chunks := *s.filter.chunks.Load()
	for ; len(v) >= 8; v = v[8:] {
		for s.chunk < len(chunks) && s.word == len(chunks[s.chunk].words) {
			s.chunk, s.word = s.chunk+1, 0
		}
		if s.chunk == len(chunks) {
			return fmt.Errorf("part %d: more words than the header says", n)
		}
		chunks[s.chunk].words[s.word] = binary.LittleEndian.Uint64(v)
		s.word++
	}
	return nil
}

func (s *savedFilter) readHeader(v []byte) error {
	if len(v) < savedHeaderSize || (len(v)-savedHeaderSize)%savedChunkSize != 0 {
		return fmt.Errorf("header of %d bytes", len(v))
	}
	s.ids, s.want = int64(binary.BigEndian.Uint64(v)), binary.BigEndian.Uint32(v[8:])
	if n := int(binary.BigEndian.Uint32(v[12:])); n == 0 || n != (len(v)-savedHeaderSize)/savedChunkSize {
		return fmt.Errorf("header of %d bytes for %d chunks", len(v), n)
	}
	var chunks []*chunk
	for v = v[savedHeaderSize:]; len(v) > 0; v = v[savedChunkSize:] {
		c := newChunk(int(binary.BigEndian.Uint64(v[8:])))
		c.keys = int(binary.BigEndian.Uint64(v[16:]))
		if blocks := binary.BigEndian.Uint64(v); blocks != c.blocks {
			return fmt.Errorf("%d blocks for %d keys, want %d", blocks, c.capacity, c.blocks)
		}
		chunks = append(chunks, c)
	}
	s.filter = filterOf(chunks...)
	return nil
}

// check reports whether all of it was read as it was written.
func (s *savedFilter) check() error {
	if s.filter == nil {
		return fmt.Errorf("no header")
	}
	chunks := *s.filter.chunks.Load()
	switch {
	case s.sum != s.want:
		return fmt.Errorf("sum %08x, want %08x", s.sum, s.want)
	case s.chunk < len(chunks)-1 || s.word < len(chunks[s.chunk].words):
		return fmt.Errorf("words end within chunk %d of %d", s.chunk, len(chunks))
	}
	return nil
}
