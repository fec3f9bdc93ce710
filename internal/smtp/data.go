package smtp

import "bytes"

// Data reads the content that follows DATA, as it comes in: it takes out the
// stuffed dots, finds the end, and takes note of what it sees. It is ready
// to use as its zero value.
//
// Only CR LF . CR LF ends content (RFC 5321, section 4.1.1.4), where the CR
// LF of the DATA line counts as the first: nothing that another server may
// have thought to be content is ever a command here, nor the other way
// round. Broken content is read to that same end.
type Data struct {
	Content
	at place
}

// place is where in a line the next octet stands.
type place uint8

const (
	atLine   place = iota // at the beginning
	atDot                 // after a dot at the beginning, which is not content
	atDotCR               // after that dot and a CR
	atCR                  // after a CR
	atText                // anywhere else
	afterEnd              // behind the content
)

// Next reads from p, whose octets follow those of the call before. It
// returns the content that they hold, moved together at the front of p, how
// many octets it has read, and whether the content has ended: what is left
// of p then are commands.
func (d *Data) Next(p []byte) (content []byte, n int, done bool) {
	w := 0
	for n < len(p) && d.at != afterEnd {
		if d.at == atText {
			end := d.skipText(p[n:])
			w += copy(p[w:], p[n:n+end])
			n += end
			continue
		}
		if d.step(p[n]) {
			p[w] = p[n]
			w++
		}
		n++
	}
	d.see(p[:w])
	return p[:w], n, d.at == afterEnd
}

// skipText returns how many octets of p are content as they stand: all of
// them, or those before a line that begins with a dot. It looks for dots and
// not for lines, since the largest content, base64, has none.
func (d *Data) skipText(p []byte) int {
	for at := 0; ; at++ {
		i := bytes.IndexByte(p[at:], '.')
		if i < 0 {
			break
		}
		at += i
		if at >= 2 && p[at-1] == '\n' && p[at-2] == '\r' {
			d.at = atLine
			return at
		}
	}
	switch {
	case bytes.HasSuffix(p, []byte("\r\n")):
		d.at = atLine
	case p[len(p)-1] == '\r':
		d.at = atCR
	}
	return len(p)
}

// step reads one octet where it may belong to the end or to a stuffed dot,
// and reports whether it is content.
func (d *Data) step(c byte) bool {
	switch {
	case d.at == atLine && c == '.':
		d.at = atDot
		return false
	case d.at == atDot && c == '\r':
		d.at = atDotCR
		return false
	case d.at == atDotCR && c == '\n':
		d.at = afterEnd
		return false
	case d.at == atDotCR:
		// The CR stands alone: it was no content, and the message is none.
		d.Broken = true
	}
	switch {
	case c == '\r':
		d.at = atCR
	case d.at == atCR && c == '\n':
		d.at = atLine
	default:
		d.at = atText
	}
	return true
}
