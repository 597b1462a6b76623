package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hooklog/cmd/internal/config"
	"hooklog/cmd/internal/demo"
	"hooklog/relay/signature"
	"hooklog/schemas"
)

// sendFlags are the flags of "hooklog send".
type sendFlags struct {
	source, typ, id, body, url string
	format                     string
	count                      int
	rate                       float64
	seed                       uint64
}

func sendCommand(w *world) *cobra.Command {
	var f sendFlags
	cmd := &cobra.Command{
		Use:   "send",
		Short: "Send signed test events to a source",
		Long: `Send signs events as the source's provider would and posts them, one after
the other. It prints each answer, one on a line. Without --body the events are
made up: the four types of the demo, with realistic bodies.

It exits 1 if any event was not answered with 2xx.

EXAMPLES
  hooklog send --source demo
  hooklog send --source demo --type payment.succeeded --count 100 --rate 20
  hooklog send --source stripe --id evt_1 --body event.json
  echo '{"type":"ping"}' | hooklog send --source demo --body -`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return w.send(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.source, "source", "", "the source to send as (required where there are several)")
	flags.StringVar(&f.typ, "type", "", "event type; without it the demo's types take turns")
	flags.StringVar(&f.id, "id", "", "event ID; without it each event has its own")
	flags.StringVar(&f.body, "body", "", "`file` to send as it is, - for standard input")
	flags.IntVar(&f.count, "count", 1, "how many events")
	flags.Float64Var(&f.rate, "rate", 0, "events a second; 0 is as fast as they are answered")
	flags.StringVar(&f.url, "url", "", "address to send to, with or without the path; without it the relay of the configuration")
	flags.StringVar(&f.format, "format", "json", "json, or pretty")
	flags.Uint64Var(&f.seed, "seed", 0, "seed of the made-up events; 0 is a new one each time")
	return cmd
}

func (w *world) send(ctx context.Context, f sendFlags) error {
	if f.count < 1 || f.rate < 0 {
		return usageError{fmt.Errorf("--count %d and --rate %v: want at least one event and no negative rate", f.count, f.rate)}
	}
	if f.format != "json" && f.format != "pretty" {
		return usageError{fmt.Errorf("--format %q is neither json nor pretty", f.format)}
	}
	c, err := w.load(config.Flags{})
	if err != nil {
		return err
	}
	src, err := pickSource(c, f.source)
	if err != nil {
		return err
	}
	target, err := endpoint(f.url, c, src)
	if err != nil {
		return err
	}
	s := &sender{world: w, flags: f, source: src, target: target, client: &http.Client{Timeout: 30 * time.Second}}
	if s.flags.seed == 0 {
		s.flags.seed = uint64(time.Now().UnixNano())
	}
	s.generator = demo.NewGenerator(s.flags.seed)
	if f.body != "" {
		if s.body, err = w.readBody(f.body); err != nil {
			return err
		}
	}
	return s.run(ctx)
}

// pickSource returns the source of that name, or the only one there is.
func pickSource(c *config.Config, name string) (*config.Source, error) {
	var names []string
	for i := range c.Sources {
		if string(c.Sources[i].Name) == name || name == "" && len(c.Sources) == 1 {
			return &c.Sources[i], nil
		}
		names = append(names, string(c.Sources[i].Name))
	}
	if name == "" {
		return nil, usageError{fmt.Errorf("--source is missing: %s has %s", c.File, strings.Join(names, ", "))}
	}
	return nil, usageError{fmt.Errorf("no source %q: %s has %s", name, c.File, strings.Join(names, ", "))}
}

// endpoint returns where to post: the relay of the configuration, or what the
// flag says, which may leave out the scheme and the path.
func endpoint(flag string, c *config.Config, src *config.Source) (string, error) {
	if flag == "" {
		flag = dialable(c.Listen)
	}
	if !strings.Contains(flag, "://") {
		flag = "http://" + flag
	}
	u, err := url.Parse(flag)
	if err != nil || u.Host == "" {
		return "", usageError{fmt.Errorf("--url %q is not an address such as http://127.0.0.1:8080", flag)}
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = src.Path
	}
	return u.String(), nil
}

func (w *world) readBody(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(w.stdin)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read body: %w", err)
	}
	if b == nil {
		b = []byte{}
	}
	return b, nil
}

// sender posts the events of one command.
type sender struct {
	*world
	flags     sendFlags
	source    *config.Source
	target    string
	client    *http.Client
	generator *demo.Generator
	body      []byte // nil: made up
}

func (s *sender) run(ctx context.Context) error {
	var pace <-chan time.Time
	if s.flags.rate > 0 {
		t := time.NewTicker(time.Duration(float64(time.Second) / s.flags.rate))
		defer t.Stop()
		pace = t.C
	}
	refused := 0
	for i := range s.flags.count {
		if pace != nil && i > 0 {
			select {
			case <-pace:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			return fmt.Errorf("stopped after %d of %d events", i, s.flags.count)
		}
		ok, err := s.one(ctx)
		if err != nil {
			return err
		}
		if !ok {
			refused++
		}
	}
	if refused > 0 {
		return fmt.Errorf("%d of %d events were refused", refused, s.flags.count)
	}
	return nil
}

// one sends one event and prints its answer.
func (s *sender) one(ctx context.Context) (accepted bool, err error) {
	id := s.flags.id
	if id == "" {
		id = "msg_" + rand.Text()
	}
	body, typ := s.body, s.flags.typ
	if body == nil {
		if body, typ, err = s.made(id); err != nil {
			return false, err
		}
	}
	req, err := s.request(ctx, id, typ, body)
	if err != nil {
		return false, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		var op *url.Error
		if errors.As(err, &op) {
			err = op.Err
		}
		return false, fmt.Errorf("send to %s: %w (is the relay running?)", s.target, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return false, fmt.Errorf("read answer: %w", err)
	}
	return resp.StatusCode/100 == 2, s.print(resp.StatusCode, bytes.TrimSpace(text))
}

// made returns a made-up body that holds the ID and the type where the source
// looks for them.
func (s *sender) made(id string) (body []byte, typ string, err error) {
	ev := s.generator.Next()
	for s.flags.typ != "" && ev.Type != s.flags.typ && demo.HasType(s.flags.typ) {
		ev = s.generator.Next()
	}
	typ = s.flags.typ
	if typ == "" {
		typ = ev.Type
	}
	var doc map[string]any
	d := json.NewDecoder(bytes.NewReader(ev.Body))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		panic("BUG: the generator makes JSON objects: " + err.Error())
	}
	changed := typ != ev.Type
	for _, p := range s.source.ID.Places() {
		if len(p.Path) > 0 {
			put(doc, p.Path, id)
			changed = true
		}
	}
	for _, p := range s.source.Type.Places() {
		if len(p.Path) > 0 && changed {
			put(doc, p.Path, typ)
		}
	}
	if !changed {
		return ev.Body, typ, nil
	}
	body, err = json.Marshal(doc)
	return body, typ, err
}

// put sets a value at a path of objects. A path that leads through an array is
// left alone: the event then has an ID made from its body.
func put(doc map[string]any, path []string, value string) {
	for _, name := range path[:len(path)-1] {
		next, ok := doc[name].(map[string]any)
		if !ok {
			if doc[name] != nil {
				return
			}
			next = make(map[string]any)
			doc[name] = next
		}
		doc = next
	}
	doc[path[len(path)-1]] = value
}

// request returns the signed request.
func (s *sender) request(ctx context.Context, id, typ string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.target, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("send to %s: %w", s.target, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "hooklog/"+version)
	setHeaders(req, s.source.ID.Places(), id)
	setHeaders(req, s.source.Type.Places(), typ)
	if s.source.Verifier == nil {
		return req, nil
	}
	fields, err := s.source.Verifier.Sign(&signature.Request{
		Method: []byte(req.Method), Target: []byte(req.URL.RequestURI()), URL: s.source.URL, Body: body,
	}, id, time.Now())
	if err != nil {
		return nil, err
	}
	for _, f := range fields {
		req.Header.Set(string(f.Name), string(f.Value))
	}
	return req, nil
}

func setHeaders(req *http.Request, places []schemas.Place, value string) {
	for _, p := range places {
		if p.Header != "" && value != "" {
			req.Header.Set(p.Header, value)
		}
	}
}

// print prints an answer as one line.
func (s *sender) print(status int, text []byte) error {
	var err error
	if s.flags.format == "pretty" || !json.Valid(text) {
		_, err = fmt.Fprintln(s.stdout, strconv.Itoa(status)+" "+string(bytes.ReplaceAll(text, []byte("\n"), []byte(" "))))
	} else {
		_, err = fmt.Fprintln(s.stdout, string(text))
	}
	return err
}
