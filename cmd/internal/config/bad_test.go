package config_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hooklog/cmd/internal/config"
)

var rewrite = flag.Bool("rewrite", false, "write what is found into testdata/*.bad.txt; read the diff before it is kept")

// TestBadFiles loads one file for each mistake. What is expected stands beside
// it: all problems with line and column, one a line.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("glob testdata/*.bad.yaml: %d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".bad.yaml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			cfg, problems := config.Load(filepath.Base(file), text, env())
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("load took %v: a mistake must not cost that", took)
			}
			got := problems.String() + "\n"
			wantFile := strings.TrimSuffix(file, ".yaml") + ".txt"
			if *rewrite {
				if err := os.WriteFile(wantFile, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(wantFile)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("problems of\n%s\n(-want +got):\n%s", text, diff)
			}
			if failed := problems.Err() != nil; failed != (cfg == nil) {
				t.Errorf("errors %v, got a configuration %v: want one or the other", failed, cfg != nil)
			}
			if !strings.HasPrefix(filepath.Base(file), "warn-") && problems.Err() == nil {
				t.Error("no error: name a file of warnings warn-*.bad.yaml")
			}
		})
	}
}

// TestBadFilesComplete finds messages without a file.
func TestBadFilesComplete(t *testing.T) {
	expected, err := filepath.Glob("testdata/*.bad.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range expected {
		if _, err := os.Stat(strings.TrimSuffix(file, ".txt") + ".yaml"); err != nil {
			t.Errorf("%s has no file that it is about: %v", file, err)
		}
	}
}

// TestLoadIsQuick loads what made the YAML library take minutes, as large as a
// file may be and larger.
func TestLoadIsQuick(t *testing.T) {
	for _, c := range []struct {
		before, again string
		times         int
		want          string
	}{
		{"a: ", "[", 40_000, "levels of nesting"},
		{"", "{", 40_000, "levels of nesting"},
		{"", "- ", 40_000, "levels of nesting"},
		{"a: ", "]", 1 << 18, "words and signs"},
		{"a: [", "a,", 1 << 17, "words and signs"},
		{"", "a: b\n", 1 << 16, "more than 10000 lines"},
		{"a: |\n  ", "\r\n", 1 << 17, "more than 10000 lines"},
		{"a: |\n  ", "\n", 9_990, "unknown key"},
		{"a:\n  ", "a:\n", 9_990, "unknown key"},
		{"a: \"", "${X} $${ ", 50_000, "could not find end"},
		{"", "x", 1 << 20, "more than 524288"},
	} {
		begin := time.Now()
		_, problems := config.Load("hooklog.yaml", []byte(c.before+strings.Repeat(c.again, c.times)), env())
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("%q and %d times %q: took %v", c.before, c.times, c.again, took)
		}
		if got := problems[0].String(); !strings.Contains(got, c.want) {
			t.Errorf("%q and %d times %q: got %q, want it to say %q", c.before, c.times, c.again, got, c.want)
		}
	}
}
