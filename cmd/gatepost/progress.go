package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// progressEvery is how often a terminal is told.
const progressEvery = 200 * time.Millisecond

// progress shows on a terminal how far long work has come, on one line that is
// written over. Anywhere else it shows nothing.
type progress struct {
	out  io.Writer // nil: there is no terminal
	what string
	last time.Time
	wide int
}

func newProgress(c *cobra.Command, what string) *progress {
	f, ok := c.ErrOrStderr().(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return &progress{}
	}
	return &progress{out: f, what: what}
}

// tell shows that done octets of about total are behind us.
func (p *progress) tell(done, total int64) {
	now := time.Now()
	if p.out == nil || now.Sub(p.last) < progressEvery {
		return
	}
	p.last = now
	text := fmt.Sprintf("%s: %s", p.what, size(done))
	if total > 0 {
		text = fmt.Sprintf("%s: %d %% of %s", p.what, min(done*100/total, 99), size(total))
	}
	p.show(text)
}

// end removes the line.
func (p *progress) end() {
	if p.out != nil && p.wide > 0 {
		p.show("")
		fmt.Fprint(p.out, "\r")
	}
}

func (p *progress) show(text string) {
	fmt.Fprintf(p.out, "\r%-*s", p.wide, text)
	p.wide = max(p.wide, len(text))
}
