package smtp

import (
	"fmt"
	"strings"
)

// MaxReplyLine is the longest line of a reply that we send, its CR LF
// included: RFC 5321, section 4.5.3.1.5.
const MaxReplyLine = 512

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

// Append appends the reply to b as it goes over the wire. A line that would
// be too long is continued on the next, each with the enhanced code (RFC
// 2034, section 4).
func (r *Reply) Append(b []byte) []byte {
	room := MaxReplyLine - len("250 \r\n")
	if r.Enhanced != "" {
		room -= len(r.Enhanced) + 1
	}
	for rest, more := r.Text, true; more; {
		var line string
		line, rest, more = strings.Cut(rest, "\n")
		for len(line) > room {
			at := breakAt(line, room)
			b = r.appendLine(b, line[:at], true)
			line = strings.TrimLeft(line[at:], " ")
		}
		b = r.appendLine(b, line, more)
	}
	return b
}

// breakAt returns where to break a line of which room octets fit: at a space
// if there is one in the second half.
func breakAt(line string, room int) int {
	if i := strings.LastIndexByte(line[:room], ' '); i > room/2 {
		return i
	}
	return room
}

// appendLine appends one line. What a text may not hold becomes a question
// mark (RFC 5321, section 4.2: textstring): a CR LF in a text that quotes a
// client or another server would otherwise be a second reply.
func (r *Reply) appendLine(b []byte, text string, more bool) []byte {
	b = append(b, '0'+byte(r.Code/100%10), '0'+byte(r.Code/10%10), '0'+byte(r.Code%10))
	if more {
		b = append(b, '-')
	} else {
		b = append(b, ' ')
	}
	if r.Enhanced != "" {
		b = append(b, r.Enhanced...)
		b = append(b, ' ')
	}
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c < ' ' || c > '~' {
			c = '?'
		}
		b = append(b, c)
	}
	return append(b, "\r\n"...)
}
