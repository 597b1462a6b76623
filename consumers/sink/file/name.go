package file

import (
	"fmt"
	"strconv"
	"strings"

	"hooklog/consumers"
)

const (
	suffix = ".ndjson"
	part   = ".part"
	digits = 20 // of an int64 with room, so that names sort by offset
)

// finishedName returns the name of the file whose first event is at the offset.
func finishedName(tp consumers.TopicPartition, first int64) string {
	return fmt.Sprintf("%s-%d-%0*d%s", tp.Topic, tp.Partition, digits, first, suffix)
}

func partName(finished string) string { return "." + finished + part }

// parseName is the inverse of both; ok is false for files that are not ours.
func parseName(name string) (tp consumers.TopicPartition, first int64, unfinished, ok bool) {
	if base, cut := strings.CutSuffix(name, part); cut {
		if name, cut = strings.CutPrefix(base, "."); !cut {
			return tp, 0, false, false
		}
		unfinished = true
	}
	base, ok1 := strings.CutSuffix(name, suffix)
	// Topics may have the separator in them; numbers do not.
	i := strings.LastIndexByte(base, '-')
	if !ok1 || i < 0 || len(base)-i-1 != digits {
		return tp, 0, false, false
	}
	j := strings.LastIndexByte(base[:i], '-')
	if j <= 0 {
		return tp, 0, false, false
	}
	first, err1 := strconv.ParseInt(base[i+1:], 10, 64)
	p, err2 := strconv.ParseInt(base[j+1:i], 10, 32)
	if err1 != nil || err2 != nil {
		return tp, 0, false, false
	}
	tp = consumers.TopicPartition{Topic: base[:j], Partition: int32(p)}
	want := finishedName(tp, first)
	return tp, first, unfinished, want == name && first >= 0 && p >= 0
}
