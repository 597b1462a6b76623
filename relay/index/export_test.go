package index

import (
	"bytes"
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"hooklog/schemas"
)

// Filter is the in-memory filter of one generation.
type Filter struct{ f *filter }

func NewFilter() Filter                        { return Filter{newFilter(0)} }
func (f Filter) Add(key schemas.EventKey)      { f.f.add(key) }
func (f Filter) Has(key schemas.EventKey) bool { return f.f.has(key) }
func (f Filter) Bytes() int                    { return f.f.bytes() }
func (f Filter) Chunks() int                   { return len(*f.f.chunks.Load()) }

// Flush moves what Apply has written into sstables.
func (x *Index) Flush() error { return x.db.Flush() }

// Compact rewrites all sstables.
func (x *Index) Compact() error {
	return x.db.Compact(context.Background(), []byte{0}, []byte{0xff}, false)
}

// PebbleLogger is what Pebble is told to log to.
func (x *Index) PebbleLogger() pebble.Logger { return pebbleLogger{x.failure} }

// Maybe reports whether some generation's filter has the key.
func (x *Index) Maybe(key schemas.EventKey) bool {
	for _, g := range *x.generations.Load() {
		if g.filter.Load().has(key) {
			return true
		}
	}
	return false
}

// SetLayoutVersion rewrites the store's description as another version's.
func (x *Index) SetLayoutVersion(v byte) error {
	m := x.meta(x.nextRef)
	m[3] = v
	return x.db.Set([]byte{kindMeta}, m, pebble.NoSync)
}

// Scanned is how many generations of an index that was just opened had no saved
// filter.
func (x *Index) Scanned() int {
	n := 0
	for _, g := range *x.generations.Load() {
		if !g.saved {
			n++
		}
	}
	return n
}

// AwaitTidy waits until what Maintain began is done.
func (x *Index) AwaitTidy() { x.background.Wait() }

// DamageSavedFilter changes one bit of a saved filter, unknown to the store.
func (x *Index) DamageSavedFilter() error {
	g := (*x.generations.Load())[0]
	part, closer, err := x.db.Get(savedKey(g.id, 1))
	if err != nil {
		return err
	}
	part = bytes.Clone(part)
	part[len(part)/2] ^= 1
	return errors.Join(closer.Close(), x.db.Set(savedKey(g.id, 1), part, pebble.NoSync))
}

// SyncLog waits until all that was written is in the write-ahead log: a kill
// loses what Pebble has not handed to the file yet.
func (x *Index) SyncLog() error { return x.db.LogData(nil, pebble.Sync) }
