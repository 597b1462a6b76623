package broker

import (
	"encoding/binary"
	"hash/crc32"
	"log/slog"
	"os"
)

// A journal is one of kfake's append-only files of JSON entries, each framed
// as length, CRC-32C, version, JSON. kfake stops reading at the first entry
// that is not whole but goes on appending after it, so that whatever is
// committed later would be lost at the next start.
type journal struct {
	path    string
	size    int64 // of the whole entries
	torn    int64 // bytes after them
	entries [][]byte
}

const (
	journalHeadBytes  = 8 // length and checksum, which the length does not count
	journalEntryBytes = 2 // of the version, the least that an entry has
)

func readJournal(path string) (*journal, error) {
	b, err := os.ReadFile(path)
	if err := ignoreMissing(err); err != nil {
		return nil, err
	}
	j := &journal{path: path}
	for {
		e, ok := journalEntry(b[j.size:])
		if !ok {
			break
		}
		j.entries = append(j.entries, e[journalHeadBytes+journalEntryBytes:])
		j.size += int64(len(e))
	}
	rest := b[j.size:]
	for i := 1; i < len(rest); i++ {
		if _, ok := journalEntry(rest[i:]); ok {
			return nil, damaged(path, j.size, "there is no entry, but there are later ones")
		}
	}
	j.torn = int64(len(rest))
	return j, nil
}

// journalEntry returns the whole entry that b starts with.
func journalEntry(b []byte) ([]byte, bool) {
	if len(b) < journalHeadBytes+journalEntryBytes {
		return nil, false
	}
	n := int64(binary.LittleEndian.Uint32(b))
	if n < journalEntryBytes || n > int64(len(b)-journalHeadBytes) {
		return nil, false
	}
	e := b[:journalHeadBytes+n]
	return e, crc32.Checksum(e[journalHeadBytes:], castagnoli) == binary.LittleEndian.Uint32(b[4:])
}

func (j *journal) mend(log *slog.Logger) error {
	if j.torn == 0 {
		return nil
	}
	log.Warn("cut off an entry that was not finished when the process was killed", "file", j.path, "bytes", j.torn)
	return truncate(j.path, j.size)
}

func (j *journal) add(entries [][]byte) error {
	if len(entries) == 0 {
		return nil
	}
	var out []byte
	for _, e := range entries {
		start := len(out)
		out = binary.LittleEndian.AppendUint32(out, uint32(journalEntryBytes+len(e)))
		out = append(out, 0, 0, 0, 0)
		out = binary.LittleEndian.AppendUint16(out, formatVersion)
		out = append(out, e...)
		binary.LittleEndian.PutUint32(out[start+4:], crc32.Checksum(out[start+journalHeadBytes:], castagnoli))
	}
	return appendFile(j.path, out)
}
