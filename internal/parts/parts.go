// Package parts walks through the parts of a MIME message (RFC 2045, 2046)
// for who looks for something that came by mail: a report.
//
// # What it trusts, and its limits
//
// Nothing: whoever likes sends a message. A bound on its octets is given by
// the caller; maxParts and maxDepth bound its parts and how deep they lie in
// one another. Nothing of it is kept: each part is read as it passes.
package parts

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"strings"
)

// Bounds of a message.
const (
	maxParts = 50
	maxDepth = 20 // parts within parts
)

// Errors of a walk.
var (
	ErrNoMessage = errors.New("it is not a message")
	ErrTooLarge  = errors.New("it is too large, or has too many parts")
)

// Part is one part that has no parts of its own.
type Part struct {
	Type string    // in lower case, as "text/plain"; empty if it cannot be read
	Name string    // of a file, in lower case; empty if it has none
	Body io.Reader // decoded; it ends with the walk's next step
}

// Each calls look with the parts of a message of at most limit octets, in
// order, until it returns false. A message that breaks off or is malformed
// has the parts up to there.
func Each(r io.Reader, limit int64, look func(Part) (more bool)) error {
	in := &source{r: &Limited{R: r, Left: limit}}
	m, err := mail.ReadMessage(bufio.NewReader(in))
	switch {
	case in.err != nil:
		return fmt.Errorf("%w: %w", ErrNoMessage, in.err)
	case err != nil:
		return ErrNoMessage // without the sender's words, which would end in a log
	}
	w := &walk{look: look}
	_, err = w.entity(textproto.MIMEHeader(m.Header), m.Body, 0)
	return err
}

// source is a reader that keeps why it failed.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// walk is a walk under way.
type walk struct {
	look func(Part) bool
	seen int
}

func (w *walk) entity(h textproto.MIMEHeader, body io.Reader, depth int) (more bool, err error) {
	mediaType, params, _ := mime.ParseMediaType(h.Get("Content-Type"))
	if strings.HasPrefix(mediaType, "multipart/") && params["boundary"] != "" {
		return w.multipart(multipart.NewReader(body, params["boundary"]), depth)
	}
	return w.look(Part{mediaType, filename(h, params), decoded(h.Get("Content-Transfer-Encoding"), body)}), nil
}

func (w *walk) multipart(r *multipart.Reader, depth int) (more bool, err error) {
	if depth == maxDepth {
		return true, nil
	}
	for {
		part, err := r.NextRawPart()
		if err != nil {
			return true, nil
		}
		if w.seen++; w.seen > maxParts {
			return false, ErrTooLarge
		}
		if more, err := w.entity(part.Header, part, depth+1); err != nil || !more {
			return false, err
		}
	}
}

// filename returns the name of a part, which says more than its type where
// that is general.
func filename(h textproto.MIMEHeader, params map[string]string) string {
	if _, d, err := mime.ParseMediaType(h.Get("Content-Disposition")); err == nil && d["filename"] != "" {
		return strings.ToLower(d["filename"])
	}
	return strings.ToLower(params["name"])
}

func decoded(encoding string, body io.Reader) io.Reader {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "base64":
		return base64.NewDecoder(base64.StdEncoding, body)
	case "quoted-printable":
		return quotedprintable.NewReader(body)
	}
	return body
}

// Limited is a reader that fails with ErrTooLarge where it has given too
// much: a report that was cut off must not pass for a whole one.
type Limited struct {
	R    io.Reader
	Left int64 // octets
}

func (l *Limited) Read(p []byte) (int, error) {
	if l.Left <= 0 {
		var one [1]byte
		if n, err := l.R.Read(one[:]); n == 0 {
			return 0, err
		}
		return 0, ErrTooLarge
	}
	n, err := l.R.Read(p[:min(int64(len(p)), l.Left)])
	l.Left -= int64(n)
	return n, err
}
