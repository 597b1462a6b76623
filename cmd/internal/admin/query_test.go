package admin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"hooklog/cmd/internal/admin"
)

// TestQueries: answers, refusals, and an end that does not wait for them.
func TestQueries(t *testing.T) {
	asked := make(chan struct{})
	url, stop := startWith(t, admin.Options{Queries: map[string]admin.Query{
		"index/verify": func(context.Context) (any, error) { return []int{1, 2}, nil },
		"busy":         func(context.Context) (any, error) { return nil, fmt.Errorf("%w: one at a time", admin.ErrBusy) },
		"broken":       func(context.Context) (any, error) { return nil, errors.New("no brokers") },
		"slow": func(ctx context.Context) (any, error) {
			close(asked)
			<-ctx.Done()
			return nil, ctx.Err()
		},
	}})
	f := func(path string, wantStatus int, want string) {
		t.Helper()
		if status, body := do(t, http.MethodGet, url+"/api/v1/"+path); status != wantStatus || body != want+"\n" {
			t.Errorf("%s: %d %q, want %d %q", path, status, body, wantStatus, want)
		}
	}
	f("index/verify", 200, "[1,2]")
	f("busy", 503, `{"error":"busy: one at a time"}`)
	f("broken", 500, `{"error":"no brokers"}`)
	if status, _ := do(t, http.MethodPost, url+"/api/v1/index/verify"); status != 405 {
		t.Errorf("POST: %d, want 405", status)
	}
	answered := make(chan error, 1)
	go func() {
		resp, err := http.Get(url + "/api/v1/slow")
		if err == nil {
			err = resp.Body.Close()
		}
		answered <- err
	}()
	<-asked
	if err := stop(); err != nil {
		t.Errorf("stop while a query is under way: %v", err)
	}
	select {
	case <-answered:
	case <-time.After(10 * time.Second):
		t.Error("the query outlives the server")
	}
}
