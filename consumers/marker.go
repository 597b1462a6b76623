package consumers

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

const markerName = "group.json"

// marker remembers that a group was seen, and which partitions had a committed
// offset, so that a lost offset can be told from a new partition. It is kept
// in Options.Dir, or only in memory where there is none.
type marker struct {
	path string // empty: not kept

	Group  string                 `json:"group"`
	Topics map[string]markedTopic `json:"topics"`
}

type markedTopic struct {
	ID         string  `json:"id"` // another one means that the topic was made anew
	Partitions []int32 `json:"partitions"`
}

// openMarker reads the marker of a group; found is false if there is none.
func openMarker(dir, group string) (m *marker, found bool, err error) {
	m = &marker{Group: group, Topics: make(map[string]markedTopic)}
	if dir == "" {
		return m, false, nil
	}
	m.path = filepath.Join(dir, markerName)
	b, err := os.ReadFile(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read group marker: %w", err)
	}
	if err := json.Unmarshal(b, m); err != nil {
		return nil, false, fmt.Errorf("read group marker %s: %w", m.path, err)
	}
	if m.Group != group {
		return nil, false, fmt.Errorf("folder %s belongs to group %q, not to %q: each group needs its own", dir, m.Group, group)
	}
	if m.Topics == nil {
		m.Topics = make(map[string]markedTopic)
	}
	return m, true, nil
}

// has reports whether the partition had a committed offset.
func (m *marker) has(tp TopicPartition) bool {
	return slices.Contains(m.Topics[tp.Topic].Partitions, tp.Partition)
}

// recreated reports whether the marked topic is another one than that with
// this ID; an empty ID is not known.
func (m *marker) recreated(topic, id string) bool {
	known := m.Topics[topic].ID
	return known != "" && id != "" && known != id
}

// add notes partitions of the topic with this ID that have a committed offset;
// it reports whether that is news.
func (m *marker) add(topic, id string, partitions ...int32) bool {
	t := m.Topics[topic]
	if id == "" {
		id = t.ID
	}
	if m.recreated(topic, id) {
		t.Partitions = nil
	}
	t.ID = id
	before := len(t.Partitions)
	t.Partitions = append(slices.Clone(t.Partitions), partitions...)
	slices.Sort(t.Partitions)
	t.Partitions = slices.Compact(t.Partitions)
	changed := len(t.Partitions) != before || m.Topics[topic].ID != id
	m.Topics[topic] = t
	return changed
}

// save makes the marker durable.
func (m *marker) save() error {
	if m.path == "" {
		return nil
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("encode group marker: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(m.path), 0o755); err != nil {
		return fmt.Errorf("write group marker: %w", err)
	}
	if err := replaceFile(m.path, append(b, '\n')); err != nil {
		return fmt.Errorf("write group marker: %w", err)
	}
	return nil
}

// replaceFile replaces a file as a whole, durably.
func replaceFile(path string, b []byte) (err error) {
	tmp := path + ".tmp"
	f, err := os.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
