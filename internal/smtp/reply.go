package smtp

import (
	"fmt"
	"strings"
)

// Reply is what a server says to a command. It is an error too, since most
// replies that are handed around say why something was refused.
type Reply struct {
	Code     int    // 200 to 599
	Enhanced string // RFC 3463, as "5.1.1"; empty where a reply has none
	Text     string // one line, or several with "\n" between them; printable
}

// Error returns the reply as one line.
func (r *Reply) Error() string {
	text := strings.ReplaceAll(r.Text, "\n", " / ")
	if r.Enhanced == "" {
		return fmt.Sprintf("%d %s", r.Code, text)
	}
	return fmt.Sprintf("%d %s %s", r.Code, r.Enhanced, text)
}

// Temporary reports whether the same command may succeed later.
func (r *Reply) Temporary() bool { return r.Code/100 == 4 }

// Positive reports whether the command was accepted, wholly (2yz) or so far
// (3yz).
func (r *Reply) Positive() bool { return r.Code/100 == 2 || r.Code/100 == 3 }
