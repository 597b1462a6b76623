package preset_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"hooklog/relay/preset"
)

func TestPresets(t *testing.T) {
	names := preset.Names()
	if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("Names() = %q, want each once and sorted", names)
	}
	for _, name := range names {
		p, ok := preset.Lookup(name)
		if !ok || p.Name != name || p.Scheme.Name != name {
			t.Errorf("Lookup(%q) = %q with scheme %q, %v, want the same name", name, p.Name, p.Scheme.Name, ok)
		}
		if err := p.Scheme.Validate(); err != nil {
			t.Errorf("%s: scheme: %v", name, err)
		}
		if p.Title == "" || p.SecretHint == "" || p.ID.IsZero() || p.Type.IsZero() {
			t.Errorf("%s: title %q, secret hint %q, ID %q, type %q: want all of them", name, p.Title, p.SecretHint, p.ID, p.Type)
		}
		if u, err := url.Parse(p.Docs); err != nil || u.Scheme != "https" || u.Host == "" {
			t.Errorf("%s: docs %q, want an https address", name, p.Docs)
		}
	}
	if p, ok := preset.Lookup("nobody"); ok || p.Name != "" {
		t.Errorf("Lookup(nobody) = %+v, %v, want none", p, ok)
	}
	names[0] = "changed"
	if preset.Names()[0] == "changed" {
		t.Error("Names() shares its slice")
	}
}

func TestExtractors(t *testing.T) {
	f := func(name, id, typ, time string, outage preset.Outage) {
		t.Helper()
		p, _ := preset.Lookup(name)
		got := strings.Join([]string{p.ID.String(), p.Type.String(), p.Time.String(), p.Outage.String()}, " | ")
		if want := strings.Join([]string{id, typ, time, outage.String()}, " | "); got != want {
			t.Errorf("%s: ID | type | time | outage = %s, want %s", name, got, want)
		}
	}
	f("stripe", "body:id", "body:type", "body:created", preset.Reject)
	f("github", "header:X-GitHub-Delivery", "header:X-GitHub-Event", "", preset.Spool)
	f("standard-webhooks", "header:webhook-id", "body:type", "body:timestamp", preset.Reject)
}

func TestOutage(t *testing.T) {
	if got := preset.Reject.String() + " " + preset.Spool.String(); got != "reject spool" {
		t.Errorf("Outage strings = %q, want reject and spool", got)
	}
}

func TestNearest(t *testing.T) {
	f := func(name, want string) {
		t.Helper()
		if got, ok := preset.Nearest(name); ok != (want != "") || ok && got != want {
			t.Errorf("Nearest(%q) = %q, %v, want %q", name, got, ok, want)
		}
	}
	f("githbu", "github")
	f("GITHUB", "github")
	f("git-hub", "github")
	f("gihtbu", "github")
	f("gitxyz", "")
	f("stirpe", "stripe")
	f("strip", "stripe")
	f("standardwebhooks", "standard-webhooks")
	f("standard_webhook", "standard-webhooks")
	f("", "")
	f("x", "")
	f("paypal", "")
	f("bigcommerce", "")
	f(strings.Repeat("x", 1000), "")
}
