package main

import (
	"encoding/base64"
	"encoding/hex"
	"net"
	"strings"
	"text/template"

	"github.com/spf13/cobra"

	"hooklog/cmd/internal/config"
	"hooklog/cmd/internal/demo"
)

func devCommand(w *world) *cobra.Command {
	var flags config.Flags
	var printConfig bool
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Try it: embedded Kafka, relay and demo groups, no set-up",
		Long: `Dev runs an embedded Kafka on 127.0.0.1:9092, the relay on 127.0.0.1:8080, the
admin listener on 127.0.0.1:9180, a source "demo" whose secret is public, and
four consumer groups, until Ctrl-C. Data are kept in ./data.

EXAMPLES
  hooklog dev
  hooklog dev --data /tmp/try --listen 127.0.0.1:8081
  hooklog dev --print-config > hooklog.yaml`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := w.parse(devName, devConfig, flags)
			if err != nil {
				return err
			}
			if printConfig {
				_, err := w.stdout.Write(applyFlags(devConfig, flags))
				return err
			}
			return w.runNode(cmd.Context(), c, parts{broker: true, relay: true, groups: c.Groups, ready: w.welcome})
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.Data, "data", "", "`folder` for everything that is kept (default ./data)")
	f.StringVar(&flags.Listen, "listen", "", "`address` of the relay (default 127.0.0.1:8080)")
	f.StringVar(&flags.Kafka, "kafka", "", "`address` of the embedded Kafka (default 127.0.0.1:9092)")
	f.StringVar(&flags.Admin, "admin", "", "`address` of the admin listener (default 127.0.0.1:9180)")
	f.BoolVar(&printConfig, "print-config", false, "print the configuration instead of running it")
	return cmd
}

// applyFlags writes what flags say into the text of the dev configuration, whose
// own values a test keeps in step with these.
func applyFlags(text []byte, flags config.Flags) []byte {
	s := string(text)
	for _, r := range []struct{ old, flag string }{
		{devListen, flags.Listen}, {devAdmin, flags.Admin}, {devKafka, flags.Kafka}, {devData, flags.Data},
	} {
		if r.flag != "" {
			s = strings.ReplaceAll(s, r.old, r.flag)
		}
	}
	return []byte(s)
}

const (
	devListen = "127.0.0.1:8080"
	devAdmin  = "127.0.0.1:9180"
	devKafka  = "127.0.0.1:9092"
	devData   = "./data"
)

// welcome prints what a person can copy.
func (w *world) welcome(c *config.Config) {
	src := c.Sources[0]
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(demo.Secret, "whsec_"))
	if err != nil {
		panic("BUG: the demo's secret is base64: " + err.Error())
	}
	if err := welcomeText.Execute(w.stderr, map[string]string{
		"URL":    "http://" + dialable(c.Listen) + src.Path,
		"Secret": demo.Secret,
		"HexKey": hex.EncodeToString(key),
		"Kafka":  c.Kafka.Embedded,
		"Topic":  c.Kafka.Topic,
		"Data":   c.Data,
		"Admin":  c.Admin,
		"Flags":  sendURL(c),
	}); err != nil {
		panic("BUG: " + err.Error())
	}
}

// sendURL is the flag that "hooklog send" needs to find a relay that does not
// listen where the dev configuration says.
func sendURL(c *config.Config) string {
	if c.Listen == devListen {
		return ""
	}
	return " --url http://" + dialable(c.Listen)
}

// dialable is an address to connect to for one to listen on.
func dialable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

var welcomeText = template.Must(template.New("welcome").Parse(`
hooklog is ready. Ctrl-C stops it; its data are in {{.Data}}.

  Post to     {{.URL}}
              Standard Webhooks, secret {{.Secret}} (public: for trying only)
  Send some   hooklog send --source demo --count 4{{.Flags}}
  By hand     body='{"type":"payment.succeeded","data":{"order":"A-1"}}' id=msg_$RANDOM ts=$(date +%s)
              sig=$(printf '%s.%s.%s' "$id" "$ts" "$body" | openssl dgst -sha256 -mac HMAC -macopt hexkey:{{.HexKey}} -binary | base64)
              curl {{.URL}} -H "webhook-id: $id" -H "webhook-timestamp: $ts" -H "webhook-signature: v1,$sig" -H 'content-type: application/json' -d "$body"
  Read it     hooklog tail -f
              kcat -b {{.Kafka}} -t {{.Topic}} -C -f '%k %s\n'
              python3 -c 'from confluent_kafka import Consumer; c = Consumer({"bootstrap.servers": "{{.Kafka}}", "group.id": "me", "auto.offset.reset": "earliest"}); c.subscribe(["{{.Topic}}"]); [print(m.key(), m.value()) for m in iter(lambda: c.poll(5), None)]'
  See it      {{.Data}}/demo, http://{{.Admin}}/readyz, http://{{.Admin}}/metrics

`))
