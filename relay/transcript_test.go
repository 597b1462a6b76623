package relay_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"hooklog/relay"
	"hooklog/relay/signature"
	"hooklog/schemas"
)

var rewrite = flag.Bool("rewrite", false, "write what the transcripts' commands say now into their files")

// transcriptTime is the clock of all transcripts.
var transcriptTime = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)

// TestTranscripts runs the transcripts of testdata/accept: a command, "----",
// and what it shows. Look at each difference before you -rewrite it.
//
//	post SOURCE [id=ID] [target=TARGET] [header="NAME: VALUE"]... [BODY]
//	    sends a signed event and shows the answer, the index and new records
//	start SOURCE ...
//	    the same, without waiting for the answer
//	hold
//	    keeps the broker from answering
//	release
//	    lets it go on and shows the answers to what was started
//	count METRIC
//	    shows a counter, by source and outcome
//
// A body or ID in double quotes has the escapes of Go.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/accept/*.txt")
	if err != nil || len(files) < 5 {
		t.Fatalf("transcripts: %q, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runTranscript(t, file) })
	}
}

func runTranscript(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := newScript(t)
	var got strings.Builder
	for i, block := range strings.Split(strings.TrimRight(string(text), "\n"), "\n\n") {
		if i > 0 {
			got.WriteString("\n")
		}
		input, _, _ := strings.Cut(block, "\n----")
		got.WriteString(input + "\n")
		for _, line := range strings.Split(input, "\n") {
			if line != "" && !strings.HasPrefix(line, "#") {
				if shown := s.run(line); shown != "" {
					got.WriteString("----\n" + shown)
				}
			}
		}
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(string(text), got.String()); d != "" {
		t.Errorf("%s (-want +got):\n%s", file, d)
	}
}

// script is a relay that a transcript talks to.
type script struct {
	*testing.T
	kafka   *kfake.Cluster
	relay   *testRelay
	sources map[string]relay.Source
	shown   map[string]bool // records, by position
	held    chan struct{}
	started []chan string
}

func newScript(t *testing.T) *script {
	s := &script{T: t, kafka: startKafka(t), sources: make(map[string]relay.Source), shown: make(map[string]bool)}
	body := func(path string) schemas.Extractor { return schemas.MustExtractor(".", "body:"+path) }
	v, err := signature.New(signature.Scheme{
		Name: "acme", Header: "X-Signature", Prefix: "sha256=", Signed: signature.MustMessage("{body}"),
	}, []signature.Secret{{Value: signature.NewSecretValue("a secret of the tests")}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	acme := relay.Source{Name: "acme", Verifier: v, ID: body("id"), Type: body("type"), Time: body("at"), Topic: topicName}
	acme.URL = "https://hooks.test/hooks/acme" // which its scheme does not sign
	custom, empty := acme, acme
	custom.Name, custom.Response = "custom", &relay.Response{Status: 202, ContentType: "text/plain", Body: "thanks"}
	empty.Name, empty.Response = "empty", &relay.Response{Status: 204}
	v, err = signature.New(signature.Scheme{
		Name: "places", Header: "X-Signature", Signed: signature.MustMessage("{url}{body}"),
	}, []signature.Secret{{Value: signature.NewSecretValue("a secret of the tests")}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	places := relay.Source{Name: "places", Verifier: v, ID: body("id"), Topic: topicName, URL: "https://hooks.test/hooks/places"}
	open := relay.Source{
		Name: "open", Unverified: true, Topic: topicName, URL: "https://hooks.test/hooks/open",
		ID: schemas.MustExtractor(":", "header:X-Id"), Type: schemas.MustExtractor(".", "header:X-Type"),
	}
	r := newRelay(t, s.kafka, func(o *relay.Options) {
		o.Sources = []relay.Source{demoSource(t), presetSource(t, "github", "github", "a secret"), acme, custom, empty, places, open}
		for i := range o.Sources {
			o.Sources[i].Deadline = 20 * time.Second // nothing in a transcript is late
			s.sources[string(o.Sources[i].Name)] = o.Sources[i]
		}
	})
	r.SetClock(func() time.Time { return transcriptTime })
	s.relay = r
	r.run(t)
	r.awaitReady(t)
	return s
}

// run runs one command and returns what it shows.
func (s *script) run(line string) string {
	name, args, _ := strings.Cut(line, " ")
	switch name {
	case "post":
		p := s.parse(args)
		return p.send(s)() + s.settled()
	case "start":
		p := s.parse(args)
		answer := make(chan string, 1)
		before := s.begun()
		send := p.send(s)
		go func() { answer <- send() }()
		s.started = append(s.started, answer)
		eventually(s, func() error { // so that the order of the transcript is that of the claims
			if s.begun() == before {
				return fmt.Errorf("%s has no claim yet", args)
			}
			return nil
		})
		return ""
	case "hold":
		s.held = make(chan struct{})
		s.kafka.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
			s.kafka.SleepControl(func() { <-s.held })
			return nil, nil, false
		})
		return ""
	case "release":
		close(s.held)
		shown := ""
		for _, answer := range s.started {
			shown += <-answer
		}
		s.started = nil
		return shown + s.settled()
	case "count":
		shown := ""
		counts := s.relay.counts(s, args)
		for _, source := range []string{"acme", "demo", "github", "open", "_unknown", ""} {
			for _, o := range append([]string{"", "new", "joined"}, outcomeNames()...) {
				if n := counts[labels{source, o}]; n > 0 {
					shown += strings.TrimSpace(fmt.Sprintf("%s %s", source, o)) + fmt.Sprintf(" %v\n", n)
				}
			}
		}
		return shown
	}
	s.Fatalf("unknown command %q", line)
	return ""
}

// begun counts the claims that were made or joined, new ones first.
func (s *script) begun() float64 {
	return s.relay.counts(s, "hooklog_index_claims_total")[labels{"", "joined"}] + float64(s.relay.Status().Claims)
}

func outcomeNames() (names []string) {
	for _, o := range relay.Outcomes() {
		names = append(names, o.String())
	}
	return names
}

// posted is the event of a post.
type posted struct {
	source     relay.Source
	id, target string
	lines      []string
	body       string
}

func (s *script) parse(args string) *posted {
	name, args, _ := strings.Cut(args, " ")
	src, ok := s.sources[name]
	if !ok {
		src = relay.Source{Name: schemas.SourceName(name), Unverified: true}
	}
	p := &posted{source: src, target: "/hooks/" + name}
	for args != "" {
		key, rest, found := strings.Cut(args, "=")
		if !found || key != "id" && key != "target" && key != "header" {
			break
		}
		value, after, _ := strings.Cut(rest, " ")
		if strings.HasPrefix(rest, `"`) {
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				s.Fatalf("%q: %v", rest, err)
			}
			value, after = s.unquote(quoted), strings.TrimPrefix(rest[len(quoted):], " ")
		}
		switch key {
		case "id":
			p.id = value
		case "target":
			p.target = value
		case "header":
			p.lines = append(p.lines, value)
		}
		args = after
	}
	p.body = s.unquote(args)
	return p
}

func (s *script) unquote(text string) string {
	if !strings.HasPrefix(text, `"`) {
		return text
	}
	plain, err := strconv.Unquote(text)
	if err != nil {
		s.Fatalf("%s: %v", text, err)
	}
	return plain
}

// send writes the request and returns how to read its answer.
func (p *posted) send(s *script) func() string {
	lines := append(p.lines, "Content-Length: "+strconv.Itoa(len(p.body)))
	raw := head("POST "+p.target+" HTTP/1.1", append(lines, signatureLines(s, p.source, transcriptTime, p.id, p.body)...), p.body)
	return func() string {
		a := s.relay.ask(s, raw)
		shown := fmt.Sprintf("%d %s", a.status, a.header.Get("Content-Type"))
		if v := a.header.Get("Retry-After"); v != "" {
			shown += ", retry after " + v
		}
		return strings.TrimSpace(strings.TrimSpace(shown)+"\n"+a.body) + "\n"
	}
}

// settled waits until the index answers for everything and shows where it has
// the event, and the records that are new.
func (s *script) settled() string {
	s.relay.checkSettled(s)
	shown := ""
	for _, rec := range readTopic(s, s.kafka, topicName) {
		at := schemas.Position{Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset}.String()
		if s.shown[at] {
			continue
		}
		s.shown[at] = true
		shown += fmt.Sprintf("record at %s\n  key: %q\n  value: %q\n  time: %s\n", at, rec.Key, rec.Value, rec.Timestamp.UTC().Format(time.RFC3339Nano))
		for _, h := range rec.Headers {
			shown += fmt.Sprintf("  %s: %s\n", h.Key, strings.Trim(strconv.Quote(string(h.Value)), `"`))
		}
		e, err := schemas.Decode(rec)
		if err != nil {
			s.Fatal(err)
		}
		shown += fmt.Sprintf("index has it at %s\n", s.relay.Lookup(e.Source, e.ID))
	}
	if shown == "" {
		return "no new record\n"
	}
	return shown
}
