package trial

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
)

// output is a writer that tells when a word was written to it.
type output struct {
	mu    sync.Mutex
	b     bytes.Buffer
	word  string
	found chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.b.Write(p)
	if o.found != nil && strings.Contains(o.b.String(), o.word) {
		close(o.found)
		o.found = nil
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func TestTry(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	found := make(chan struct{})
	out := &output{word: "Ctrl-C", found: found}
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, out) }()
	select {
	case <-found:
	case err := <-ended:
		t.Fatalf("ended with %v\n%s", err, out)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if text := out.String(); !strings.Contains(text, "\nDelivered: ") || strings.Contains(text, "AUTH PLAIN AH") {
		t.Errorf("not delivered, or it shows the password on the way:\n%s", text)
	}
}
