package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// console is a command that the README shows, and what it prints; "…" stands
// for anything.
type console struct {
	command string
	output  []string
}

// consoles returns the commands of a text's console blocks.
func consoles(text string) []console {
	var out []console
	in := false
	for _, line := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			in = line == "```console"
		case !in:
		case strings.HasPrefix(line, "$ "):
			out = append(out, console{command: line[2:]})
		default:
			last := &out[len(out)-1]
			last.output = append(last.output, line)
		}
	}
	return out
}

// TestReadme runs the README's commands as they are written, beside a "hooklog
// dev" at other ports.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	listen, admin, kafka := freeAddress(t), freeAddress(t), freeAddress(t)
	flags := []string{"dev", "--listen", listen, "--admin", admin, "--kafka", kafka}
	ownConfig, _, code := once(t, dir, append(flags, "--print-config")...)
	if code != 0 {
		t.Fatalf("print-config: exit code %d", code)
	}
	config := writeFile(t, dir, "dev.yaml", ownConfig)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "bin", "hooklog")); err != nil {
		t.Fatal(err)
	}
	p := hooklog(t, dir, flags...)
	p.ready(t, admin)

	all := consoles(string(text))
	if len(all) < 5 {
		t.Fatalf("the README shows %d commands, want more", len(all))
	}
	for _, c := range all {
		cmd := exec.Command("bash", "-c", c.command)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HOOKLOG_CONFIG="+config)
		got, err := cmd.Output()
		if err != nil {
			t.Errorf("$ %s\n%v\n%s", c.command, err, p.stderr.String())
			continue
		}
		want := strings.ReplaceAll(strings.Join(c.output, "\n"), "127.0.0.1:8080", listen)
		pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(want), "…", ".*") + "$"
		if s := strings.TrimSuffix(string(got), "\n"); !regexp.MustCompile(pattern).MatchString(s) {
			t.Errorf("$ %s\ngot:\n%s\nwant:\n%s", c.command, s, want)
		}
	}
	if code := p.terminate(t, os.Interrupt); code != 0 {
		t.Errorf("exit code after Ctrl-C: got %d, want 0\n%s", code, p.stderr.String())
	}
}
