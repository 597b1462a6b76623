package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"hooklog/cmd/internal/config"
	"hooklog/relay/preset"
	"hooklog/relay/signature"
)

// TestSecretsArrive checks that the bytes of a secret reach the verifier by
// each way, none more and none less.
func TestSecretsArrive(t *testing.T) {
	p, ok := preset.Lookup("stripe")
	if !ok {
		t.Fatal("no preset stripe")
	}
	v, err := signature.New(p.Scheme, []signature.Secret{{Value: signature.NewSecretValue(whsec)}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := sign(t, v)
	for _, written := range []string{
		whsec, "'" + whsec + "'", "${WHSEC}", `"${WHSEC}"`, "file:secrets/whsec.txt", "file:/etc/hooklog/whsec",
		"{value: ${WHSEC}}", "{id: x, value: file:secrets/whsec.txt}", "|-\n      " + whsec,
	} {
		cfg := load(t, "kafka: {embedded: {}}\nsources:\n  a:\n    preset: stripe\n    secrets:\n    - "+written+"\n")
		if got := sign(t, cfg.Sources[0].Verifier); got != want {
			t.Errorf("secret written as %s: signs %s, want %s", written, got, want)
		}
	}
}

func sign(t *testing.T, v *signature.Verifier) string {
	t.Helper()
	fields, err := v.Sign(&signature.Request{Body: []byte("{}")}, "", time.Unix(1_700_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s", fields)
}

// leaks returns what of the secrets is in a text.
func leaks(text string) []string {
	var found []string
	for _, s := range []string{whsec, strings.TrimPrefix(whsec, "whsec_"), "nobody may ever see these bytes", password} {
		// Half of one is as bad.
		if half := s[:len(s)/2]; strings.Contains(text, half) {
			found = append(found, half)
		}
	}
	return found
}

// TestSecretsNeverShown prints a configuration with secrets in all the ways in
// which somebody may.
func TestSecretsNeverShown(t *testing.T) {
	cfg := load(t, read(t, "testdata/full.good.yaml"))
	shown := map[string]string{}
	for _, v := range []any{cfg, *cfg, cfg.Kafka, &cfg.Kafka, cfg.Sources, cfg.Sources[0], cfg.Groups, cfg.RelayOptions()} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
			shown[fmt.Sprintf("%T %s", v, verb)] = fmt.Sprintf(verb, v)
		}
		for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
			"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
			"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
		} {
			var b bytes.Buffer
			slog.New(handler(&b)).Info("loaded", "config", v)
			shown[fmt.Sprintf("%T slog %s", v, name)] = b.String()
		}
		text, err := json.Marshal(v)
		shown[fmt.Sprintf("%T JSON", v)] = fmt.Sprint(string(text), err)
	}
	for how, text := range shown {
		if found := leaks(text); len(found) > 0 {
			t.Errorf("%s shows %q:\n%s", how, found, text)
		}
	}
	if s := cfg.String(); !strings.Contains(s, "kafka-1.example.com:9093") || !strings.Contains(s, "3 sources") {
		t.Errorf("summary %q does not say where and what", s)
	}
}

// TestSecretsNeverInProblems puts secrets in their places in files that are
// wrong, and in places that are not theirs.
func TestSecretsNeverInProblems(t *testing.T) {
	const frame = "kafka: {brokers: [127.0.0.1:9092]}\n"
	for _, text := range []string{
		frame + "sources: {a: {preset: standard-webhooks, secrets: [" + whsec + "x]}}\n",
		frame + "sources: {a: {preset: standard-webhooks, secrets: [${WHSEC}${WHSEC}]}}\n",
		frame + "sources: {a: {preset: standard-webhooks, secrets: " + whsec + "}}\n",
		frame + "sources: {a: {preset: standard-webhooks, secrets: {" + whsec + ": x}}}\n",
		frame + "sources: {a: {preset: standard-webhooks, secrets: [[" + whsec + "]]}}\n",
		frame + "sources: {a: {preset: standard-webhooks, secrets: [{id: " + whsec + ", value: " + whsec + "}]}}\n",
		frame + "sources: {a: {preset: standard-webhooks, secrets: [{id: \"x y\", value: " + whsec + ", not_after: ${WHSEC}}]}}\n",
		frame + "sources: {a: {preset: " + whsec + ", secret: " + whsec + "}}\n",
		frame + "sources: {a: {preset: ${WHSEC}, outage: ${WHSEC}, topic: \"${WHSEC} x\", tolerance: ${WHSEC}, max_body: ${WHSEC}, url: \"${WHSEC}\", id: ${WHSEC}, response: {status: ${WHSEC}}}}\n",
		frame + "sources: {a: {hmac: {header: ${WHSEC}, algorithm: ${WHSEC}, signed: \"{x${WHSEC}}\", prefix: \"\\x01${WHSEC}\", timestamp: {unit: ${WHSEC}}}, secrets: [${WHSEC}]}}\n",
		frame + "sources: {a: {hmac: {header: \"x ${WHSEC}\", signed: \"{body}\", prefix: \"${WHSEC}\\x01\", id: \"${WHSEC} x\", list: {separator: ${WHSEC}}}, secrets: [${WHSEC}]}}\n",
		frame + "sources: {a: {preset: stripe, secrets: [a], url: \"https://user:" + password + "@example.com/\"}}\n",
		frame + "sources: {a: {preset: stripe, secrets: [\"file:${WHSEC}\"]}}\n",
		frame + whsec + ": 1\n",
		frame + "sources: {" + whsec + ": {}}\n",
		"kafka: {brokers: [\"${WHSEC}\"], sasl: {mechanism: ${WHSEC}, user: u, password: " + password + ", x: y}}\n",
		"kafka:\n  brokers: [a:1]\n  sasl: {mechanism: plane, user: u, password: " + password + "\n",
		"kafka:\n  brokers: [a:1]\n  sasl:\n    password: |" + password + "\n",
		"kafka:\n  brokers: [a:1]\n  sasl:\n    password: " + password + ": x\n",
		"kafka:\n  brokers: [a:1]\n  sasl:\n    password: '" + password + "\n",
		"kafka:\n  brokers: [a:1]\n  sasl:\n    password: !" + password + " x\n",
		"kafka:\n  brokers: [a:1]\n  sasl:\n    password: &" + password + " x\n",
		"kafka:\n  brokers: [a:1]\n  sasl:\n    password:\n\t" + password + "\n",
		"%" + password + "\n---\na: 1\n",
		"listen: ${WHSEC}\nadmin: \"${PASSWORD}:http\"\ndata: x\nlimits: {connections: ${PASSWORD}}\n" + frame +
			"consumers: {g: {start: ${PASSWORD}, dead_letter: ${PASSWORD}/, duplicates: ${PASSWORD}, retry: {min: ${PASSWORD}}, routes: [{name: \"${PASSWORD} \", source: \"${PASSWORD}A\", type: \"{${PASSWORD}\", to: ${PASSWORD}}, {to: {handler: ${PASSWORD}}}, {to: {file: {dir: x, format: ${PASSWORD}}}}]}}\n",
		frame + "consumers: {g: {topic: ${PASSWORD}, dead_letter: ${PASSWORD}, routes: [{to: {print: {format: ${PASSWORD}}}}]}}\n",
	} {
		cfg, problems := config.Load("hooklog.yaml", []byte(text), env())
		if len(problems) == 0 {
			t.Errorf("load\n%s\ngot no problem, want one", text)
		}
		if found := leaks(problems.String()); len(found) > 0 {
			t.Errorf("problems of\n%s\nshow %q:\n%v", text, found, problems)
		}
		if found := leaks(fmt.Sprintf("%+v %#v", cfg, problems)); len(found) > 0 {
			t.Errorf("result of\n%s\nshows %q", text, found)
		}
	}
}

// FuzzLoad checks that no text makes Load panic or take long, that it answers
// with a configuration or with errors, and that no problem has a secret which
// the text only refers to.
func FuzzLoad(f *testing.F) {
	for _, name := range []string{"testdata/full.good.yaml", "testdata/small.good.yaml", devFile} {
		f.Add(mustRead(f, name))
	}
	for _, name := range glob(f, "testdata/*.bad.yaml") {
		f.Add(mustRead(f, name))
	}
	f.Add([]byte("kafka: {brokers: [\"${WHSEC}\"]}\nsources: {a: {preset: ${WHSEC}, secrets: [${WHSEC}, file:secrets/whsec.txt]}}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		cfg, problems := config.Load("hooklog.yaml", text, env())
		if (cfg == nil) != (problems.Err() != nil) {
			t.Errorf("load %q: got a configuration %v and errors %v", text, cfg != nil, problems.Err())
		}
		if cfg != nil {
			for _, s := range cfg.Sources {
				if (s.Verifier == nil) != s.Unverified {
					t.Errorf("load %q: source %s has a verifier %v and is unverified %v", text, s.Name, s.Verifier != nil, s.Unverified)
				}
			}
		}
		for _, p := range problems {
			if p.Line < 1 || p.Column < 1 {
				t.Errorf("load %q: the problem %q has no place", text, p)
			}
			if strings.ContainsAny(p.String(), "\n\r") {
				t.Errorf("load %q: the problem %q is not one line", text, p)
			}
		}
		if found := leaks(problems.String()); len(found) > 0 && len(leaks(string(text))) == 0 {
			t.Errorf("load %q: problems show %q:\n%v", text, found, problems)
		}
	})
}

func mustRead(f *testing.F, name string) []byte {
	text, err := os.ReadFile(name)
	if err != nil {
		f.Fatal(err)
	}
	return text
}
