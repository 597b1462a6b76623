// Package admin is the private listener: what an operator, an orchestrator and
// Prometheus see of a process. It asks nobody who they are, so it belongs on a
// loopback or private address. Nothing secret passes through it.
//
//	GET /livez           200 as long as the process serves
//	GET /readyz          200, or 503 with the reasons
//	GET /metrics         Prometheus
//	GET /api/v1/status   what each component is doing
//	GET /api/v1/NAME     the answer of a query, such as index/verify
//	GET /debug/pprof/    profiles, but for the command line
//
// It only reads: any other method than GET and HEAD is refused.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Component is a part of the process that an operator knows by name. Its
// methods are called concurrently and return at once: they say what is known,
// they do not find out.
type Component interface {
	// Name never changes.
	Name() string
	// Ready reports whether it can do its work, and why not, such as "index is
	// catching up: 43 %, 12 s left".
	Ready() (ok bool, reason string)
	// Status is a value that encodes as JSON. It holds no secrets.
	Status() any
}

// Options are what New needs.
type Options struct {
	// Listen is the address, host:port; port 0 takes a free one.
	Listen string
	// Gatherer has the metrics; nil means that there are none.
	Gatherer prometheus.Gatherer
	// Components are asked in this order. Without any the process is ready.
	Components []Component
	// Queries find something out, by the name that follows /api/v1/ in their
	// address. Their answers encode as JSON. They may take their time: their
	// context ends with the request or the server.
	Queries map[string]Query
	// Version of the program, shown as it is.
	Version string
	// Logger gets what goes wrong; nil discards it.
	Logger *slog.Logger
}

// Query finds something out. An error that is ErrBusy is answered 503.
type Query func(context.Context) (any, error)

// ErrBusy is returned by a Query that cannot be served at the moment.
var ErrBusy = errors.New("busy")

// Server is the private listener. Use it once: New, Listen, Run. Drain may be
// called from any goroutine.
type Server struct {
	opts     Options
	started  time.Time
	http     *http.Server
	listener net.Listener
	draining atomic.Bool
}

const (
	readTimeout = 5 * time.Second
	// writeTimeout is for all but profiles, which set their own.
	writeTimeout = 90 * time.Second
	idleTimeout  = 60 * time.Second
	// shutdownTimeout is short: nobody loses anything but a scrape.
	shutdownTimeout = time.Second
	headerBytes     = 16 << 10
	// scrapes is how many gather at once: it may take locks of the hot path.
	scrapes = 4
)

// New makes a server; it opens nothing.
func New(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Gatherer == nil {
		o.Gatherer = prometheus.NewRegistry()
	}
	s := &Server{opts: o, started: time.Now()}
	mux := http.NewServeMux()
	mux.HandleFunc("/livez", s.live)
	mux.HandleFunc("/readyz", s.ready)
	mux.HandleFunc("/api/v1/status", s.status)
	for name, q := range o.Queries {
		mux.HandleFunc("/api/v1/"+name, func(w http.ResponseWriter, r *http.Request) { s.query(w, r, q) })
	}
	mux.Handle("/metrics", promhttp.HandlerFor(o.Gatherer, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(o.Logger.Handler(), slog.LevelWarn),
		MaxRequestsInFlight: scrapes,
		Timeout:             readTimeout,
	}))
	// All named profiles. The command line is left out: people put secrets
	// there, whatever they are told.
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	s.http = &http.Server{
		Handler:           readOnly(mux),
		ReadTimeout:       readTimeout,
		ReadHeaderTimeout: readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerBytes,
		// A panic of a component comes here, too.
		ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelWarn),
	}
	return s
}

// readOnly refuses what would not only read.
func readOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD are served", http.StatusMethodNotAllowed)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Listen takes the port. It is apart from Run so that a port that is taken
// (syscall.EADDRINUSE) is known before anything else has begun. Connections
// wait until Run.
func (s *Server) Listen() error {
	l, err := net.Listen("tcp", s.opts.Listen)
	if err != nil {
		return fmt.Errorf("admin: %w", err) // err names the address.
	}
	s.listener = l
	return nil
}

// Addr returns the address that Listen took, or nil before it.
func (s *Server) Addr() net.Addr {
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

// Drain makes /readyz say that the process is shutting down, so that load
// balancers turn away before it stops to accept. It cannot be undone.
func (s *Server) Drain() { s.draining.Store(true) }

// Close gives back the port of a server that Run was never called for. After
// Run it does nothing.
func (s *Server) Close() error {
	if s.listener == nil {
		return nil
	}
	if err := s.listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Run serves until ctx is done and then closes the port. It returns nil after
// an orderly end. Listen comes first.
func (s *Server) Run(ctx context.Context) error {
	if s.listener == nil {
		return errors.New("admin: run before listen")
	}
	// Profiles end with their request: at once, not after their minute.
	s.http.BaseContext = func(net.Listener) context.Context { return ctx }
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("admin: %w", err)
	case <-ctx.Done():
	}
	shutdown, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if err := s.http.Shutdown(shutdown); err != nil {
		// Someone is in the middle of a profile: cut off.
		s.http.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin: %w", err)
	}
	return nil
}

func (s *Server) live(w http.ResponseWriter, _ *http.Request) {
	s.write(w, http.StatusOK, map[string]bool{"live": true})
}

// readiness is the answer of /readyz.
type readiness struct {
	Ready   bool     `json:"ready"`
	Reasons []reason `json:"reasons,omitempty"`
}

type reason struct {
	Component string `json:"component"`
	Reason    string `json:"reason"`
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	answer := readiness{Ready: true}
	if s.draining.Load() {
		answer = readiness{Reasons: []reason{{"process", "shutting down"}}}
	}
	for _, c := range s.opts.Components {
		if ok, why := c.Ready(); !ok {
			answer.Ready = false
			answer.Reasons = append(answer.Reasons, reason{c.Name(), why})
		}
	}
	status := http.StatusOK
	if !answer.Ready {
		status = http.StatusServiceUnavailable
	}
	s.write(w, status, answer)
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	components := make(map[string]any, len(s.opts.Components))
	for _, c := range s.opts.Components {
		components[c.Name()] = c.Status()
	}
	s.write(w, http.StatusOK, map[string]any{
		"version":    s.opts.Version,
		"started":    s.started.UTC().Format(time.RFC3339),
		"components": components,
	})
}

func (s *Server) query(w http.ResponseWriter, r *http.Request, q Query) {
	if err := http.NewResponseController(w).SetWriteDeadline(time.Time{}); err != nil {
		http.Error(w, "this connection has a deadline that cannot be lifted", http.StatusInternalServerError)
		return
	}
	answer, err := q(r.Context())
	switch {
	case errors.Is(err, ErrBusy):
		w.Header().Set("Retry-After", "5")
		s.write(w, http.StatusServiceUnavailable, map[string]string{"error": err.Error()})
	case err != nil:
		s.write(w, http.StatusInternalServerError, map[string]string{"error": err.Error()})
	default:
		s.write(w, http.StatusOK, answer)
	}
}

func (s *Server) write(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		s.opts.Logger.Error("a status does not encode as JSON", "err", err)
		http.Error(w, "status does not encode as JSON", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}
