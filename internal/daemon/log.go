package daemon

import (
	"bufio"
	"io"
	"sync"
	"time"

	"gatepost/internal/clock"
)

// logDelay is how long a line of the log may wait for others.
const logDelay = 200 * time.Millisecond

// logWriter gathers lines, so that a busy server does not make a system call
// for each.
type logWriter struct {
	clock clock.Clock

	mu      sync.Mutex
	w       *bufio.Writer
	pending bool
}

func newLogWriter(w io.Writer, c clock.Clock) *logWriter {
	return &logWriter{clock: c, w: bufio.NewWriterSize(w, 64<<10)}
}

// Write takes one line.
func (l *logWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.pending {
		l.pending = true
		l.clock.AfterFunc(logDelay, l.flush)
	}
	return l.w.Write(p)
}

// flush writes out what has gathered.
func (l *logWriter) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = false
	l.w.Flush()
}
