package smtpd

import (
	"context"
	"strings"
	"sync"
	"testing"

	"gatepost/internal/envelope"
)

// watcher keeps what it sees.
type watcher struct {
	mu     sync.Mutex
	header string
	body   strings.Builder
	judge  error
	write  error
}

func (w *watcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.body.Write(p)
	return len(p), w.write
}

func (w *watcher) Judge(_ context.Context, e *envelope.Envelope) error {
	e.Header = append(e.Header, "X-Seen: yes\r\n"...)
	return w.judge
}

// A watcher sees the header as it came, whatever is kept of it, and every
// octet of the body but none of the header or the empty line.
func TestWatcher(t *testing.T) {
	t.Parallel()
	no := envelope.Refuse(550, "5.7.1", "no")
	big := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 3000)
	for _, c := range []struct {
		name          string
		data          string
		header, body  string
		judge, write  error
		code, content string
	}{
		{"a message", "A: b\r\nC: d\r\n\r\nhi\r\n", "A: b\r\nC: d\r\n", "hi\r\n", nil, nil, "250", "C: d\r\n\r\nhi\r\n"},
		{"a large one", "A: b\r\n\r\n" + big, "A: b\r\n", big, nil, nil, "250", "\r\n" + big},
		{"no body", "A: b\r\n", "A: b\r\n", "", nil, nil, "250", "\r\n"},
		{"no header", "hi there\r\n\r\nyou\r\n", "", "hi there\r\n\r\nyou\r\n", nil, nil, "250", "\r\nhi there\r\n\r\nyou\r\n"},
		{"refused", "A: b\r\n\r\nhi\r\n", "A: b\r\n", "hi\r\n", no, nil, "550", ""},
		{"broken", "A: b\r\n\r\nhi\r\n", "A: b\r\n", "hi\r\n", nil, no, "550", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(envelope.MX, nil)
			w := &watcher{judge: c.judge, write: c.write}
			s.rules.watch = func(header []byte) Watcher {
				w.header = string(header)
				return w
			}
			s.rules.header = func(_ *envelope.Envelope, header []byte) ([]byte, error) {
				return []byte(strings.TrimPrefix(string(header), "A: b\r\n")), nil
			}
			k := s.dial(t, false)
			k.expect("220")
			k.send("EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\n")
			for _, code := range []string{"250", "250", "250", "354"} {
				k.expect(code)
			}
			k.send(c.data + ".\r\n")
			k.expect(c.code)
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.header != c.header || w.body.String() != c.body {
				t.Errorf("saw %q and %.200q", w.header, w.body.String())
			}
			all := s.store.all()
			if c.content == "" {
				if len(all) != 0 || s.store.open != 0 {
					t.Errorf("%d messages, %d drafts", len(all), s.store.open)
				}
			} else if len(all) != 1 || all[0].content != c.content || !strings.HasSuffix(string(all[0].Header), "X-Seen: yes\r\n") {
				t.Errorf("%d messages: %.300v", len(all), all)
			}
			if n := s.held.Load(); n != 0 {
				t.Errorf("%d octets are still held", n)
			}
		})
	}
}

// Who signs sees the header that is kept, and its signature stands below our
// Received field; who is watched is not signed for.
func TestSigner(t *testing.T) {
	t.Parallel()
	for _, watched := range []bool{false, true} {
		s := newSite(envelope.MX, nil)
		w := &watcher{}
		s.rules.header = func(_ *envelope.Envelope, header []byte) ([]byte, error) {
			return append([]byte("Kept: yes\r\n"), header...), nil
		}
		s.rules.sign = func(header []byte) Watcher {
			w.header = string(header)
			return w
		}
		if watched {
			s.rules.watch = func([]byte) Watcher { return &watcher{} }
		}
		k := s.dial(t, false)
		k.expect("220")
		k.send("EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\n")
		for _, code := range []string{"250", "250", "250", "354"} {
			k.expect(code)
		}
		k.send("A: b\r\n\r\nhi\r\n.\r\n")
		k.expect("250")
		w.mu.Lock()
		defer w.mu.Unlock()
		switch {
		case watched && w.header != "":
			t.Errorf("what is watched is signed: %q", w.header)
		case !watched && (w.header != "Kept: yes\r\nA: b\r\n" || w.body.String() != "hi\r\n"):
			t.Errorf("signed: %q and %q", w.header, w.body.String())
		}
		if all := s.store.all(); len(all) != 1 || !strings.HasSuffix(string(all[0].Header), "\r\nX-Seen: yes\r\n") {
			t.Errorf("%v", all)
		}
	}
}
