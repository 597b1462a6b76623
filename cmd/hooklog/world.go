package main

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"hooklog/cmd/internal/config"
	"hooklog/cmd/internal/demo"
)

const (
	configVariable = "HOOKLOG_CONFIG"
	configFile     = "hooklog.yaml"
	devName        = "dev.yaml"
)

// devConfig is what "hooklog dev" runs, and what is used where no
// configuration is found.
//
//go:embed dev.yaml
var devConfig []byte

// load finds and reads the configuration. Warnings are printed; mistakes too,
// and then the error is silent.
func (w *world) load(flags config.Flags) (*config.Config, error) {
	name, text, err := w.find()
	if err != nil {
		return nil, err
	}
	return w.parse(name, text, flags)
}

// find returns the configuration's name and text.
func (w *world) find() (string, []byte, error) {
	name := w.configFile
	if name == "" {
		name = os.Getenv(configVariable)
	}
	if name != "" {
		text, err := os.ReadFile(name)
		if err != nil {
			return "", nil, fmt.Errorf("read configuration: %w", err)
		}
		return name, text, nil
	}
	text, err := os.ReadFile(configFile)
	if errors.Is(err, fs.ErrNotExist) {
		return devName, devConfig, nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("read configuration: %w", err)
	}
	return configFile, text, nil
}

func (w *world) parse(name string, text []byte, flags config.Flags) (*config.Config, error) {
	c, problems := config.Load(name, text, config.Env{
		Getenv:   os.LookupEnv,
		ReadFile: os.ReadFile,
		Now:      time.Now,
		Handlers: demo.Handlers(),
		Flags:    flags,
	})
	for _, p := range problems {
		fmt.Fprintln(w.stderr, p)
	}
	if err := problems.Err(); err != nil {
		return nil, silentError{err}
	}
	return c, nil
}

// logger makes the process's logger.
func (w *world) logger() (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(w.logLevel)); err != nil {
		return nil, usageError{fmt.Errorf("--log-level %q is none of debug, info, warn, error", w.logLevel)}
	}
	o := &slog.HandlerOptions{Level: level}
	switch w.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w.stderr, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w.stderr, o)), nil
	}
	return nil, usageError{fmt.Errorf("--log-format %q is neither text nor json", w.logFormat)}
}
