package preset

import (
	"hooklog/relay/signature"
	"hooklog/schemas"
)

// presets is the catalogue, sorted by name.
var presets = []Preset{
	{
		Name:  "github",
		Title: "GitHub",
		Scheme: signature.Scheme{
			Name: "github",
			// X-Hub-Signature, with SHA-1, comes too and proves less.
			Header: "X-Hub-Signature-256",
			Prefix: "sha256=",
			Signed: signature.MustMessage("{body}"),
		},
		// The delivery's ID stays the same when it is redelivered.
		ID:   schemas.MustExtractor(":", "header:X-GitHub-Delivery"),
		Type: schemas.MustExtractor(".", "header:X-GitHub-Event"),
		// GitHub never sends a failed delivery again by itself.
		Outage:     Spool,
		Docs:       "https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries",
		SecretHint: "the text you entered as \"Secret\" in the webhook's settings",
	},
	{
		Name:  "standard-webhooks",
		Title: "Standard Webhooks",
		Scheme: signature.Scheme{
			Name:   "standard-webhooks",
			Header: "webhook-signature",
			// v1a, with Ed25519, may stand beside it.
			List:      signature.List{Separator: " ", Assign: ",", Label: "v1"},
			Encoding:  signature.Base64,
			Signed:    signature.MustMessage("{id}.{ts}.{body}"),
			Timestamp: signature.Timestamp{Header: "webhook-timestamp"},
			ID:        "webhook-id",
			Key:       signature.KeyWhsec,
			MinKey:    24,
			MaxKey:    64,
		},
		ID:   schemas.MustExtractor(":", "header:webhook-id"),
		Type: schemas.MustExtractor(".", "body:type"),
		Time: schemas.MustExtractor("", "body:timestamp"),
		// The specification recommends retries over days.
		Outage:     Reject,
		Docs:       "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md",
		SecretHint: "shown by the sender for the endpoint: \"whsec_\" and base64 of 24 to 64 bytes",
	},
	{
		Name:  "stripe",
		Title: "Stripe",
		Scheme: signature.Scheme{
			Name:   "stripe",
			Header: "Stripe-Signature",
			// Test mode adds a v0, which is no signature of the live kind.
			List:      signature.List{Separator: ",", Assign: "=", Label: "v1"},
			Signed:    signature.MustMessage("{ts}.{body}"),
			Timestamp: signature.Timestamp{Label: "t"},
			// The whole secret is the key, "whsec_" included.
			Key: signature.KeyText,
		},
		ID:   schemas.MustExtractor(":", "body:id"),
		Type: schemas.MustExtractor(".", "body:type"),
		Time: schemas.MustExtractor("", "body:created"),
		// Stripe retries for three days.
		Outage:     Reject,
		Docs:       "https://docs.stripe.com/webhooks/signature",
		SecretHint: "\"Signing secret\" of the endpoint in the dashboard (or printed by \"stripe listen\"): \"whsec_\" and 32 or more characters",
	},
}
