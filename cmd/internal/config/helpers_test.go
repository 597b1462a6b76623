package config_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"hooklog/cmd/internal/config"
	"hooklog/consumers"
	"hooklog/schemas"
)

// Secrets of the tests. None may come out of this package in any form.
const (
	whsec    = "whsec_bm9ib2R5IG1heSBldmVyIHNlZSB0aGVzZSBieXRlcw=="
	password = "xyzzy-broker-password"
)

func env() config.Env {
	vars := map[string]string{
		"WHSEC":                 whsec,
		"PASSWORD":              password,
		"EMPTY":                 "",
		"STRIPE_WEBHOOK_SECRET": whsec,
		"PORT":                  "8088",
		"LIST":                  "[a, b]",
		"BROKEN":                whsec + "\n",
		"TYPO":                  "strpe",
	}
	return config.Env{
		Getenv:   func(name string) (string, bool) { v, ok := vars[name]; return v, ok },
		ReadFile: readFile,
		Now:      func() time.Time { return time.Date(2026, 1, 31, 9, 0, 0, 0, time.UTC) },
		Handlers: map[string]config.NewHandler{"demo.fulfil_order": newNothing, "demo.notify_customer": newNothing},
	}
}

// readFile reads from testdata, or a file that no repository should have.
func readFile(path string) ([]byte, error) {
	switch filepath.ToSlash(path) {
	case "secrets/whsec.txt":
		return []byte(whsec + "\n"), nil
	case "secrets/empty.txt":
		return []byte("\n"), nil
	case "/etc/hooklog/whsec":
		return []byte(whsec), nil
	case "ca.pem", "client.pem":
		return certificate().cert, nil
	case "client.key":
		return certificate().key, nil
	}
	if filepath.IsAbs(path) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return os.ReadFile(filepath.Join("testdata", path))
}

type pemPair struct{ cert, key []byte }

// certificate makes a certificate and its key, so that the repository need not
// have one.
var certificate = sync.OnceValue(func() pemPair {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, private.Public(), private)
	if err != nil {
		panic(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		panic(err)
	}
	return pemPair{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	}
})

func newNothing(string) (consumers.Handler, error) { return nothing{}, nil }

type nothing struct{}

func (nothing) Handle(context.Context, schemas.Event) error { return nil }

// load loads a text that must be without errors and warnings.
func load(t *testing.T, text string) *config.Config {
	t.Helper()
	cfg, problems := config.Load("hooklog.yaml", []byte(text), env())
	if len(problems) > 0 {
		t.Fatalf("load\n%s\ngot problems, want none:\n%v", text, problems)
	}
	return cfg
}

func glob(f *testing.F, pattern string) []string {
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		f.Fatalf("glob %s: %d files, %v", pattern, len(names), err)
	}
	return names
}
