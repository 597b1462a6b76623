package config_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"hooklog/cmd/internal/config"
	"hooklog/consumers"
	"hooklog/schemas"
)

// closer is a handler that counts how often it is made and closed.
type closer struct {
	nothing
	closed int
}

func (c *closer) Close() error { c.closed++; return nil }

const openText = `
kafka: {embedded: {}}
data: /some/where
consumers:
  one: {routes: [{name: a, to: {handler: it}}, {name: b, to: print}]}
  two: {routes: [{to: {handler: it}}]}
  files: {routes: [{to: {file: {dir: OUT}}}]}
`

func openConfig(t *testing.T, handlers map[string]config.NewHandler) (*config.Config, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "out")
	e := env()
	e.Handlers = handlers
	text := bytes.ReplaceAll([]byte(openText), []byte("OUT"), []byte(filepath.ToSlash(dir)))
	cfg, problems := config.Load("hooklog.yaml", text, e)
	if len(problems) > 0 {
		t.Fatalf("load\n%s\ngot problems, want none:\n%v", text, problems)
	}
	return cfg, dir
}

func TestOpen(t *testing.T) {
	it, made, data := &closer{}, 0, ""
	cfg, dir := openConfig(t, map[string]config.NewHandler{"it": func(d string) (consumers.Handler, error) {
		made++
		data = d
		return it, nil
	}})
	if _, err := os.Stat(dir); made != 0 || err == nil {
		t.Errorf("Load made %d handlers and the folder (%v), want neither", made, err)
	}
	var out bytes.Buffer
	options, closeAll, err := cfg.Open(cfg.Groups, &out, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "handlers made, and where", []any{made, filepath.ToSlash(data)}, []any{1, "/some/where"})
	for _, o := range options {
		if err := o.Validate(); err != nil {
			t.Errorf("options of group %s: %v", o.Group, err)
		}
	}
	if options[0].Routes[0].Handler != options[1].Routes[0].Handler {
		t.Error("two routes that name one handler got two")
	}
	ev := schemas.Event{ID: "evt_1", Source: "acme", Type: "a.b", Body: []byte("{}")}
	if err := options[0].Routes[1].Handler.Handle(context.Background(), ev); err != nil || !bytes.Contains(out.Bytes(), []byte("evt_1")) {
		t.Errorf("the print route wrote %q, %v; want the event", out.String(), err)
	}
	if _, err := os.Stat(dir); err != nil || options[2].Routes[0].Sink == nil {
		t.Errorf("the file route has sink %v and folder error %v, want both there", options[2].Routes[0].Sink, err)
	}
	if cfg.Groups[0].Options.Routes[0].Handler != nil {
		t.Error("Open changed the configuration")
	}
	if err := errors.Join(closeAll(), closeAll()); err != nil || it.closed != 1 {
		t.Errorf("close: got %v and %d calls of the handler's Close, want none and 1", err, it.closed)
	}
	if _, closeAll, err = cfg.Open(cfg.Groups[2:], io.Discard, slog.New(slog.DiscardHandler)); err != nil {
		t.Errorf("open the files again after close: %v", err)
	}
	if err := closeAll(); err != nil {
		t.Error(err)
	}
}

// TestOpenFails checks that what was made before a failure is closed.
func TestOpenFails(t *testing.T) {
	it := &closer{}
	broken := errors.New("broken")
	cfg, _ := openConfig(t, map[string]config.NewHandler{"it": func(string) (consumers.Handler, error) { return it, nil }})
	groups := append([]config.Group{}, cfg.Groups...)
	groups = append(groups, groups[2]) // Its folder is taken by the one before.
	_, closeAll, err := cfg.Open(groups, io.Discard, slog.New(slog.DiscardHandler))
	if err == nil || it.closed != 1 {
		t.Errorf("open with a folder that is taken: got %v and %d handlers closed, want an error and 1", err, it.closed)
	}
	if err := closeAll(); err != nil {
		t.Errorf("close after a failed open: %v", err)
	}
	cfg, _ = openConfig(t, map[string]config.NewHandler{"it": func(string) (consumers.Handler, error) { return nil, broken }})
	if _, _, err := cfg.Open(cfg.Groups, io.Discard, slog.New(slog.DiscardHandler)); !errors.Is(err, broken) {
		t.Errorf("open with a handler that cannot be made: got %v, want %v", err, broken)
	}
}
