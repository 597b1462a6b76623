package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"hooklog/consumers"
	"hooklog/consumers/sink/file"
	"hooklog/consumers/sink/print"
)

// Open makes the handlers and sinks of the groups and returns their options,
// less Registerer, in the same order. Unlike Load it makes folders and opens
// files. What routes print goes to out. A handler that several routes name is
// made once.
//
// closeAll ends what was made; call it after the groups have ended. It is not
// nil, and after an error there is nothing left for it to do.
func (c *Config) Open(groups []Group, out io.Writer, logger *slog.Logger) (options []consumers.Options, closeAll func() error, err error) {
	o := opener{config: c, out: out, logger: logger, handlers: map[string]consumers.Handler{}}
	for _, g := range groups {
		opts := g.Options
		opts.Logger = logger
		opts.Routes = slices.Clone(opts.Routes)
		for i, target := range g.Targets {
			if err := o.open(target, &opts.Routes[i]); err != nil {
				err = fmt.Errorf("open route %q of group %q: %w", opts.Routes[i].Name, g.Name, err)
				return nil, func() error { return nil }, errors.Join(err, o.close())
			}
		}
		options = append(options, opts)
	}
	return options, o.close, nil
}

type opener struct {
	config   *Config
	out      io.Writer
	logger   *slog.Logger
	handlers map[string]consumers.Handler
	closers  []io.Closer
}

func (o *opener) open(t Target, r *consumers.Route) error {
	switch {
	case t.File != nil:
		opts := *t.File
		opts.Logger = o.logger
		sink, err := file.New(opts)
		if err != nil {
			return err
		}
		r.Sink, o.closers = sink, append(o.closers, sink)
	case t.Print != "":
		r.Handler = print.New(o.out, t.Print)
	default:
		h, ok := o.handlers[t.Handler]
		if !ok {
			var err error
			if h, err = o.config.handlers[t.Handler](o.config.Data); err != nil {
				return fmt.Errorf("make handler %s: %w", t.Handler, err)
			}
			o.handlers[t.Handler] = h
			if closer, is := h.(io.Closer); is {
				o.closers = append(o.closers, closer)
			}
		}
		r.Handler = h
	}
	return nil
}

// close ends everything, the last one first.
func (o *opener) close() error {
	var errs []error
	for _, c := range slices.Backward(o.closers) {
		errs = append(errs, c.Close())
	}
	o.closers = nil
	return errors.Join(errs...)
}
