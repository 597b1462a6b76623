package main_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// nodes is an Apache Kafka of our own (KAFKA_DIR), whose nodes may be killed.
type nodes struct {
	dir    string
	n      int
	client *kgo.Client
}

// ownNodes returns the cluster of KAFKA_DIR if it has n nodes, else skips the
// test.
func ownNodes(t *testing.T, n int) (*nodes, cluster) {
	t.Helper()
	dir, brokers := os.Getenv("KAFKA_DIR"), os.Getenv("KAFKA_BROKERS")
	if dir == "" || brokers == "" || strings.Count(brokers, ",")+1 != n {
		t.Skipf("needs KAFKA_DIR and KAFKA_BROKERS of %d nodes", n)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(brokers, ",")...), kgo.MetadataMinAge(250*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &nodes{dir: dir, n: n, client: client}, apache(brokers)
}

// do runs .ci/kafka: kill, pause or resume; the last waits until the node is
// up.
func (c *nodes) do(command string, node int) error {
	out, err := exec.Command(filepath.Join("..", "..", ".ci", "kafka"), command, strconv.Itoa(node), "--dir", c.dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf(".ci/kafka %s %d: %w: %s", command, node, err, out)
	}
	return nil
}

// inSync waits until every node says that all replicas of the topic's
// partitions are in sync.
func (c *nodes) inSync(topic string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	for {
		err := c.outOfSync(ctx, topic)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("topic %s is not in sync again: %w", topic, err)
		}
	}
}

func (c *nodes) outOfSync(ctx context.Context, topic string) error {
	for node := 1; node <= c.n; node++ {
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		req := kmsg.NewPtrMetadataRequest()
		rt := kmsg.NewMetadataRequestTopic()
		rt.Topic = kmsg.StringPtr(topic)
		req.Topics = append(req.Topics, rt)
		resp, err := c.client.Broker(node).Request(try, req)
		cancel()
		if err != nil {
			return fmt.Errorf("node %d: %w", node, err)
		}
		m := resp.(*kmsg.MetadataResponse)
		if len(m.Brokers) != c.n || len(m.Topics) != 1 || len(m.Topics[0].Partitions) == 0 {
			return fmt.Errorf("node %d knows %d nodes and no partitions", node, len(m.Brokers))
		}
		for _, p := range m.Topics[0].Partitions {
			if len(p.ISR) != c.n {
				return fmt.Errorf("node %d: partition %d has %v in sync", node, p.Partition, p.ISR)
			}
		}
	}
	return nil
}

// createTopic makes a topic whose replicas are where they are wanted, each
// partition's leader first.
func (c *nodes) createTopic(t *testing.T, topic string, replicas [][]int32) {
	t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = topic, -1, -1
	for p, nodes := range replicas {
		ra := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		ra.Partition, ra.Replicas = int32(p), nodes
		rt.ReplicaAssignment = append(rt.ReplicaAssignment, ra)
	}
	for name, value := range map[string]string{"min.insync.replicas": "2", "retention.ms": "-1", "max.message.bytes": "2097152"} {
		rc := kmsg.NewCreateTopicsRequestTopicConfig()
		rc.Name, rc.Value = name, kmsg.StringPtr(value)
		rt.Configs = append(rt.Configs, rc)
	}
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(withTimeout(t, 10*time.Second), c.client)
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatalf("make topic %s: %v", topic, err)
	}
}

// TestKillNodes kills nodes of a Kafka that has three, while hooklog is killed:
// never more than one at a time, and the next only when the one before is in
// sync again, so that an acknowledged record always has a living copy.
func TestKillNodes(t *testing.T) {
	c, k := ownNodes(t, 3)
	r, until := newRelay(t, k), soakUntil(t)
	r.start(t)
	r.p.ready(t, r.admin)
	r.kill(t)
	stop := r.load(t, 128)

	faults := 3
	if testing.Short() {
		faults = 1
	}
	troubled := make(chan error, 1)
	enough := make(chan struct{})
	t.Cleanup(func() {
		close(enough)
		if err := <-troubled; err != nil {
			t.Error(err)
		}
	})
	rng := rand.New(rand.NewPCG(r.rng.Uint64(), 1))
	go func() { troubled <- c.trouble(r.topic, rng, faults, until, enough, t.Logf) }()
	// While a node is missing nothing may be acknowledged for a while: a moment
	// is also one of those.
	r.endure(t, len(moments), []func(*testing.T, *relay){
		moments[0], func(t *testing.T, r *relay) { r.sooner(t, 3*time.Second); r.kill(t) },
		moments[1], func(t *testing.T, r *relay) { r.sooner(t, 6*time.Second); r.kill(t); r.removeIndex(t) },
		func(t *testing.T, r *relay) { r.sooner(t, 2*time.Second); r.kill(t) },
	}, func() bool { return len(troubled) == 0 })
	if err := c.inSync(r.topic); err != nil {
		t.Error(err)
	}
	stop()
	r.check(t)
}

// sooner waits until some events more have been accepted, but for a random time
// of at most d.
func (r *relay) sooner(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-r.sender.more(500 + r.rng.Int64N(3000)):
	case <-r.p.done:
		t.Fatalf("hooklog ended: %v\n%s", r.p.err, r.p.stderr.String())
	case <-time.After(time.Duration(r.rng.Int64N(int64(d)))):
	}
}

// trouble kills or stops one node after the other, n times or until then, or
// until it is enough.
func (c *nodes) trouble(topic string, rng *rand.Rand, n int, until time.Time, enough <-chan struct{}, logf func(string, ...any)) error {
	node := 0
	for i := 0; i < n || time.Now().Before(until); i++ {
		// Who comes back leads nothing for a while. Without a leader a relay
		// does not start; without such a follower nothing more becomes readable
		// of what the leaders have, and a relay that starts must know of it.
		if i%2 == 0 {
			node = 1 + rng.IntN(c.n)
		}
		command, away := "kill", 6*time.Second // and what a start takes
		if rng.IntN(3) == 0 {
			command, away = "pause", 12*time.Second // its connections stay; after 9 s it leads no more
		}
		if err := c.do(command, node); err != nil {
			return err
		}
		began := time.Now()
		select {
		case <-time.After(time.Duration(rng.Int64N(int64(away)))):
		case <-enough:
		}
		if err := errors.Join(c.do("resume", node), c.inSync(topic)); err != nil {
			return err
		}
		logf("node %d: %s, in sync again after %v", node, command, time.Since(began).Round(100*time.Millisecond))
		select {
		case <-enough:
			return nil
		case <-time.After(time.Second):
		}
	}
	return nil
}
