package load

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// maxAnswer bounds head and body of an answer; those of the relay are below
// 1 KiB.
const maxAnswer = 16 << 10

var (
	errAnswerTooLarge = errors.New("answer is too large")
	errNoLength       = errors.New("answer has no Content-Length")
)

// answerReader reads HTTP/1.1 answers of a known length from a connection.
// Chunked answers are an error: no server here sends them.
type answerReader struct {
	src io.Reader
	buf [maxAnswer]byte
	n   int // bytes in buf
}

func (r *answerReader) reset(src io.Reader) { r.src, r.n = src, 0 }

// next returns the status of the next answer and drops its body.
func (r *answerReader) next() (int, error) {
	for {
		if head := bytes.Index(r.buf[:r.n], []byte("\r\n\r\n")); head >= 0 {
			status, length, err := parseHead(r.buf[:head])
			if err != nil {
				return 0, err
			}
			end := head + 4 + length
			if end > len(r.buf) {
				return 0, errAnswerTooLarge
			}
			for r.n < end {
				if err := r.fill(); err != nil {
					return 0, err
				}
			}
			r.n = copy(r.buf[:], r.buf[end:r.n])
			return status, nil
		}
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
}

func (r *answerReader) fill() error {
	if r.n == len(r.buf) {
		return errAnswerTooLarge
	}
	n, err := r.src.Read(r.buf[r.n:])
	r.n += n
	if n > 0 {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// parseHead reads the status and Content-Length of a head without its last
// empty line.
func parseHead(head []byte) (status, length int, err error) {
	line, fields, _ := bytes.Cut(head, []byte("\r\n"))
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, 0, fmt.Errorf("answer starts %.20q, want an HTTP/1.1 status line", line)
	}
	status, err = strconv.Atoi(string(line[9:12]))
	if err != nil {
		return 0, 0, fmt.Errorf("parse status: %w", err)
	}
	for len(fields) > 0 {
		line, fields, _ = bytes.Cut(fields, []byte("\r\n"))
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("Content-Length")) {
			length, err = strconv.Atoi(string(bytes.TrimSpace(value)))
			if err != nil || length < 0 {
				return 0, 0, fmt.Errorf("parse Content-Length %q: %w", value, errNoLength)
			}
			return status, length, nil
		}
	}
	return 0, 0, errNoLength
}
