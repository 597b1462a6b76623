//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package demo_test

import (
	"testing"

	"hooklog/cmd/internal/demo"
)

// TestJournalLocked checks that a folder has one demo: a second one would not
// know what the first does.
func TestJournalLocked(t *testing.T) {
	data := t.TempDir()
	h := open(t, "demo.fulfil_order", data)
	if second, err := demo.Handlers()["demo.fulfil_order"](data); err == nil {
		closeHandler(second)
		t.Error("a second open of the same folder: got no error, want one")
	}
	if err := closeHandler(h); err != nil {
		t.Fatal(err)
	}
	open(t, "demo.fulfil_order", data)
}
