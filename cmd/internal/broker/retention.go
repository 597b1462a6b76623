package broker

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// retentionEvery is how often expired records are removed. Kafka looks every
// five minutes, but removes whole segments only.
const retentionEvery = time.Hour

// keepRetention removes what the topics' settings let expire, until Close.
// kfake's own clock for it runs only after a topic was created or altered in
// the same process, and is turned off.
func (b *Broker) keepRetention() {
	defer close(b.retentionDone)
	tick := time.NewTicker(retentionEvery)
	defer tick.Stop()
	for {
		b.removeExpired()
		select {
		case <-b.stopRetention:
			return
		case <-tick.C:
		}
	}
}

func (b *Broker) removeExpired() {
	b.expiry.Lock()
	defer b.expiry.Unlock()
	if err := b.saveFloors(); err != nil {
		b.log.Warn("expired records were not removed", "err", err)
		return
	}
	b.cluster.ApplyRetention()
	// Records that came in between, and were old when they came, are gone too.
	if err := b.saveFloors(); err != nil {
		b.log.Warn("where the partitions end was not saved", "err", err)
	}
}

// floors are offsets that were given out, by topic ID and partition. The log
// says so itself as long as it holds a record, but retention may remove all of
// a partition, and after a kill its offsets would start at 0 again: under
// committed offsets and facts that mean other records.
type floors map[string]map[string]int64

func (f floors) of(topicID string, partition int32) int64 {
	return f[topicID][strconv.Itoa(int(partition))]
}

const floorsName = "floors.json"

func readFloors(dir string) (floors, error) {
	path := filepath.Join(dir, floorsName)
	b, err := os.ReadFile(path)
	if err := ignoreMissing(err); err != nil || b == nil {
		return nil, err
	}
	var f floors
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, damaged(path, 0, "%v", err)
	}
	return f, nil
}

// saveFloors notes where the partitions end that may lose all their records.
func (b *Broker) saveFloors() error {
	topics, err := readTopics(b.dir)
	if err != nil {
		return err
	}
	f := make(floors)
	for _, t := range topics {
		if !expires(t) {
			continue
		}
		ends := make(map[string]int64)
		for _, p := range b.cluster.PartitionInfos(t.Name) {
			if p.HighWatermark > 0 {
				ends[strconv.Itoa(int(p.Partition))] = p.HighWatermark
			}
		}
		f[t.ID] = ends
	}
	if len(f) == 0 {
		return nil
	}
	out, err := json.Marshal(f)
	if err != nil || bytes.Equal(out, b.floors) {
		return err
	}
	if err := writeFile(filepath.Join(b.dir, floorsName), out); err != nil {
		return err
	}
	b.floors = out
	return nil
}

func expires(t topic) bool {
	for _, name := range []string{"retention.ms", "retention.bytes"} {
		if v, ok := t.Configs[name]; ok && v != "-1" {
			return true
		}
	}
	return false
}
