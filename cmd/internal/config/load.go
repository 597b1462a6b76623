package config

import (
	"io/fs"
	"strings"
	"time"
)

// Load reads a configuration. name is the file's name, for messages and for
// the paths of the files it refers to. The configuration is nil if Problems
// has an error; a nil Problems means that nothing is wrong and nothing is
// doubtful.
func Load(name string, text []byte, env Env) (*Config, Problems) {
	if env.Getenv == nil {
		env.Getenv = func(string) (string, bool) { return "", false }
	}
	if env.ReadFile == nil {
		env.ReadFile = func(path string) ([]byte, error) {
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}
	}
	if env.Now == nil {
		env.Now = time.Now
	}
	c := &collector{file: name}
	root := c.parse(text)
	if root == nil {
		return nil, c.sorted()
	}
	d := &decoder{collector: c, env: env}
	var doc *document
	if d.into(&doc, root, ""); doc == nil {
		return nil, c.sorted()
	}
	doc.override(c, env.Flags)
	b := &builder{collector: c, env: env, doc: doc, config: &Config{File: name, handlers: env.Handlers}}
	b.build()
	problems := c.sorted()
	if len(problems.Errors()) > 0 {
		return nil, problems
	}
	return b.config, problems
}

// override puts what flags say in the place of what the file says.
func (doc *document) override(c *collector, flags Flags) {
	set := func(t *text, flag, value string) {
		if value != "" {
			*t = text{place: place{line: notInFile, path: flag}, value: value, source: value}
		}
	}
	set(&doc.Listen, "--listen", flags.Listen)
	set(&doc.Admin, "--admin", flags.Admin)
	set(&doc.Data, "--data", flags.Data)
	switch {
	case flags.Kafka == "":
	case doc.Kafka != nil && doc.Kafka.Embedded != nil:
		set(&doc.Kafka.Embedded.Listen, "--kafka", flags.Kafka)
	default:
		c.wrong(place{line: notInFile, path: "--kafka"}, "the configuration has no embedded broker")
	}
}

// notInFile is the line of a value that a flag gave.
const notInFile = -1

// mentioned reports whether something is wrong already with a path or with
// what is below it, so that what follows from that is not reported too.
func (c *collector) mentioned(path string) bool {
	for _, p := range c.problems {
		if rest, ok := strings.CutPrefix(p.Path, path); ok && !p.Warning && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}
