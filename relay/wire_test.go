package relay_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"hooklog/relay"
	"hooklog/relay/signature"
)

// wire is a connection to a relay, on which a test writes what it likes.
type wire struct {
	net.Conn
	br *bufio.Reader
}

func dial(t testing.TB, r *testRelay) *wire {
	t.Helper()
	w, err := tryDial(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func tryDial(r *testRelay) (*wire, error) {
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return nil, err
	}
	return &wire{Conn: c, br: bufio.NewReader(c)}, nil
}

// response is what came back.
type response struct {
	status int
	header http.Header
	body   string
	close  bool
}

func (a response) String() string {
	return fmt.Sprintf("%d %s", a.status, bytes.TrimSpace([]byte(a.body)))
}

// code is the outcome that the answer names.
func (a response) code(t testing.TB) string {
	t.Helper()
	var v struct{ Code, Outcome string }
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("answer %q is not JSON: %v", a.body, err)
	}
	return v.Code + v.Outcome
}

// place is where the answer says the event is.
func (a response) place(t testing.TB) string {
	t.Helper()
	var v struct {
		Topic     string
		Partition int32
		Offset    int64
	}
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("answer %q is not JSON: %v", a.body, err)
	}
	return fmt.Sprintf("%s/%d@%d", v.Topic, v.Partition, v.Offset)
}

// read reads one answer to a request of that method.
func (w *wire) read(method string) (response, error) {
	for {
		resp, err := http.ReadResponse(w.br, &http.Request{Method: method})
		if err != nil {
			return response{}, err
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return response{}, err
		}
		if resp.StatusCode == http.StatusContinue {
			continue
		}
		return response{status: resp.StatusCode, header: resp.Header, body: string(body), close: resp.Close}, nil
	}
}

// exchange writes one request and reads its answer. A relay may answer and hang
// up before it has read all; then writing fails and the answer counts.
func (w *wire) exchange(raw []byte) (response, error) {
	method, _, _ := bytes.Cut(raw, []byte(" "))
	_, werr := w.Write(raw)
	a, err := w.read(string(method))
	if err != nil {
		return a, errors.Join(err, werr)
	}
	return a, nil
}

// ask sends one request on a connection of its own, and counts it.
func (r *testRelay) ask(t testing.TB, raw []byte) response {
	t.Helper()
	a, err := r.try(raw)
	if err != nil {
		head, _, _ := bytes.Cut(raw, []byte("\r\n"))
		t.Fatalf("%q: %v", head, err)
	}
	return a
}

func (r *testRelay) try(raw []byte) (response, error) {
	w, err := tryDial(r)
	if err != nil {
		return response{}, err
	}
	defer w.Close()
	r.sent.Add(1)
	return w.exchange(raw)
}

// post sends a body to a source, signed as its sender would.
func (r *testRelay) post(t testing.TB, src relay.Source, id, body string) response {
	t.Helper()
	return r.ask(t, request(t, src, id, body))
}

// request is a signed request as it stands on the wire. Further lines of the
// header come before those of the signature.
func request(t testing.TB, src relay.Source, id, body string, lines ...string) []byte {
	t.Helper()
	return requestAt(t, src, time.Now(), id, body, lines...)
}

func requestAt(t testing.TB, src relay.Source, now time.Time, id, body string, lines ...string) []byte {
	t.Helper()
	target := "/hooks/" + string(src.Name)
	lines = append(lines, "Content-Length: "+fmt.Sprint(len(body)))
	return head("POST "+target+" HTTP/1.1", append(lines, signatureLines(t, src, now, id, body)...), body)
}

// signatureLines are the header lines that a sender adds.
func signatureLines(t testing.TB, src relay.Source, now time.Time, id, body string) (lines []string) {
	t.Helper()
	if src.Verifier == nil {
		return nil
	}
	fields, err := src.Verifier.Sign(&signature.Request{
		Method: []byte("POST"), Target: []byte("/hooks/" + string(src.Name)), URL: src.URL, Body: []byte(body),
	}, id, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		lines = append(lines, fmt.Sprintf("%s: %s", f.Name, f.Value))
	}
	return lines
}

// head joins a request line, header lines (Host comes first) and a body.
func head(first string, lines []string, body string) []byte {
	var b bytes.Buffer
	b.WriteString(first + "\r\nHost: hooks.test\r\n")
	for _, line := range lines {
		b.WriteString(line + "\r\n")
	}
	b.WriteString("\r\n" + body)
	return b.Bytes()
}

// chunked is a body in chunks of that many bytes.
func chunked(body string, size int) string {
	var b bytes.Buffer
	for len(body) > 0 {
		n := min(size, len(body))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return b.String() + "0\r\n\r\n"
}
