package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
)

// ErrDamaged is returned by Start when the data directory lacks a part or has
// bytes in it that were not written there. Nothing in it was changed.
var ErrDamaged = errors.New("the embedded log is damaged")

const (
	// formatVersion is the one that this package knows how to mend.
	formatVersion = 1
	// cleanName marks a directory whose last stop was a clean one.
	cleanName = "stopped"
)

// recoverDir checks a directory before kfake opens it and, after a kill, makes
// it what a clean stop would have left:
//
//   - the torn end of the last write is cut off; damage anywhere else is
//     refused (kfake would cut the log there and go on);
//   - each segment's index has an entry for each batch (kfake would read the
//     entries of later batches one place off);
//   - open transactions end with an abort marker, and their producers are
//     fenced (kfake remembers such an abort only in memory, so that clients
//     drop whatever the producer commits later);
//   - the sequence numbers of producers are those of the log (kfake's are those
//     of the last clean stop);
//   - each partition has a snapshot (without one kfake reads all of its
//     records into memory).
func recoverDir(dir string, log *slog.Logger) error {
	known, err := readMeta(dir)
	if err != nil || !known {
		return err
	}
	topics, err := readTopics(dir)
	if err != nil {
		return err
	}
	_, err = os.Stat(filepath.Join(dir, cleanName))
	clean := err == nil
	if !clean {
		log.Warn("the embedded log was not closed, checking it", "dir", dir)
	}
	partitions, err := readPartitions(dir, topics, clean)
	if err != nil {
		return err
	}
	// All damage is found before anything is changed.
	producers, err := readProducers(dir)
	if err != nil {
		return err
	}
	groups, err := readJournal(filepath.Join(dir, "groups.log"))
	if err != nil {
		return err
	}
	for _, p := range partitions {
		if err := p.mend(log); err != nil {
			return err
		}
	}
	if err := errors.Join(groups.mend(log), producers.journal.mend(log)); err != nil {
		return err
	}
	if !clean {
		if err := endCrash(dir, partitions, producers); err != nil {
			return fmt.Errorf("recover after a kill: %w", err)
		}
	}
	if err := os.Remove(filepath.Join(dir, cleanName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(dir)
}

// endCrash writes what kfake would have saved at a clean stop. It may itself
// be killed at any line: the next start does the same again.
func endCrash(dir string, partitions []*partition, producers *producers) error {
	// Fence first: a marker without the fence would let the producer go on
	// with the other half of its transaction.
	if err := producers.fence(partitions); err != nil {
		return err
	}
	for _, p := range partitions {
		if err := p.abortOpen(); err != nil {
			return err
		}
		if err := p.saveSnapshot(); err != nil {
			return err
		}
	}
	if err := producers.saveWindows(dir, partitions); err != nil {
		return err
	}
	// Of members and open transactions at some earlier clean stop.
	if err := os.Remove(filepath.Join(dir, "session_state.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// readMeta reports whether there is a log in the directory.
func readMeta(dir string) (bool, error) {
	b, err := os.ReadFile(filepath.Join(dir, "meta.json"))
	if errors.Is(err, fs.ErrNotExist) {
		// kfake would start an empty log over what is there.
		for _, name := range []string{"topics.json", "partitions"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				return false, damaged(filepath.Join(dir, "meta.json"), 0, "it is missing, but %s is there", name)
			}
		}
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var meta struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(b, &meta); err != nil {
		return false, damaged(filepath.Join(dir, "meta.json"), 0, "%v", err)
	}
	if meta.Version != formatVersion {
		return false, fmt.Errorf("the log has format %d and this program knows %d: use the version that wrote it", meta.Version, formatVersion)
	}
	return true, nil
}

type topic struct {
	Name       string            `json:"name"`
	ID         string            `json:"id"`
	Partitions int32             `json:"partitions"`
	Configs    map[string]string `json:"configs"`
}

func readTopics(dir string) ([]topic, error) {
	path := filepath.Join(dir, "topics.json")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		// The first start was killed at once, unless there are partitions,
		// which readPartitions finds to belong to no topic.
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var t struct {
		Topics []topic `json:"topics"`
	}
	if err := json.Unmarshal(b, &t); err != nil {
		return nil, damaged(path, 0, "%v", err)
	}
	return t.Topics, nil
}

// readPartitions reads every partition's log. Those of no topic are damage:
// kfake would never look at them again.
func readPartitions(dir string, topics []topic, clean bool) ([]*partition, error) {
	floors, err := readFloors(dir)
	if err != nil {
		return nil, err
	}
	dirs, err := os.ReadDir(filepath.Join(dir, "partitions"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var ps []*partition
	for _, d := range dirs {
		name, number, ok := partitionOf(d.Name())
		i := slices.IndexFunc(topics, func(t topic) bool { return t.Name == name })
		path := filepath.Join(dir, "partitions", d.Name())
		if !ok || i < 0 || number >= topics[i].Partitions {
			return nil, damaged(path, 0, "it belongs to no topic of topics.json (if the topic was deleted, move it away)")
		}
		ps = append(ps, &partition{
			dir:    path,
			topic:  name,
			number: number,
			floor:  floors.of(topics[i].ID, number),
			// Compaction leaves gaps between offsets.
			clean: clean,
			gaps:  strings.Contains(topics[i].Configs["cleanup.policy"], "compact"),
		})
	}
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, p := range ps {
		g.Go(p.read)
	}
	return ps, g.Wait()
}

// partitionOf splits the name of a partition's directory.
func partitionOf(name string) (topic string, number int32, ok bool) {
	i := strings.LastIndexByte(name, '-')
	if i < 0 {
		return "", 0, false
	}
	topic, err := url.PathUnescape(name[:i])
	if err != nil {
		return "", 0, false
	}
	n, err := strconv.ParseInt(name[i+1:], 10, 32)
	return topic, int32(n), err == nil && n >= 0
}

func damaged(path string, at int64, format string, args ...any) error {
	return fmt.Errorf("%w: %s, byte %d: %s; put the directory back from a copy, or move it away to start with an empty log",
		ErrDamaged, path, at, fmt.Sprintf(format, args...))
}
