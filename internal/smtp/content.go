package smtp

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// Bounds of the lines of a message in octets, without their CR LF.
const (
	// LongLine is what a line may have by RFC 5321, section 4.5.3.1.6. People
	// receive longer ones daily, so that one is noted and taken.
	LongLine = 998
	// MaxTextLine is what a line may have at most.
	MaxTextLine = 64 << 10
)

// Content is what has been seen of a message's content so far, after dots
// were unstuffed. Its zero value has seen nothing.
type Content struct {
	Size int64 // octets
	// HeaderEnd is the number of octets of the header section, the empty
	// line that ends it included; 0 as long as none was seen.
	HeaderEnd int64

	HeaderEightBit bool // the header has octets above 127
	BodyEightBit   bool // the rest has
	LeadingDot     bool // some line begins with a dot
	LongLine       bool // some line has more than LongLine octets
	TooLong        bool // some line has more than MaxTextLine octets
	// Broken says that there was a CR or LF that is not part of a CR LF, or
	// a NUL: what is a line to one server is none to another, which is what
	// smuggling lives on (CVE-2023-51764 and its kind). Such a message must
	// not be taken. The other fields are not kept up any more.
	Broken bool

	line int  // octets of the last line as far as it has come
	cr   bool // it ends in CR
}

// see takes note of the next octets. Each look at them is one pass of
// vectorized search, but for one step a line.
func (c *Content) see(p []byte) {
	if len(p) == 0 || c.Broken {
		c.Size += int64(len(p))
		return
	}
	pairs := c.seeLines(p)
	// A CR LF has one CR each. One at the very end may still become one.
	crs := bytes.Count(p, []byte{'\r'})
	if c.cr {
		crs++
	}
	if c.cr = p[len(p)-1] == '\r'; c.cr {
		crs--
	}
	if crs != pairs || bytes.IndexByte(p, 0) >= 0 {
		c.Broken = true
	}
	c.seeHighBits(p)
	c.Size += int64(len(p))
}

// seeLines looks at each line and returns how many ended in CR LF.
func (c *Content) seeLines(p []byte) (pairs int) {
	for at := 0; at < len(p); {
		if c.line == 0 && p[at] == '.' {
			c.LeadingDot = true
		}
		i := bytes.IndexByte(p[at:], '\n')
		if i < 0 {
			c.line += len(p) - at
			n := c.line
			if p[len(p)-1] == '\r' { // it may yet be half of the end
				n--
			}
			c.measure(n)
			return pairs
		}
		end := at + i
		if end == 0 && !c.cr || end > 0 && p[end-1] != '\r' {
			c.Broken = true
			return pairs
		}
		pairs++
		n := c.line + i - 1 // without CR LF
		c.measure(n)
		if n == 0 && c.HeaderEnd == 0 {
			c.HeaderEnd = c.Size + int64(end) + 1
		}
		c.line, at = 0, end+1
	}
	return pairs
}

func (c *Content) measure(n int) {
	if n > LongLine {
		c.LongLine = true
		c.TooLong = c.TooLong || n > MaxTextLine
	}
}

func (c *Content) seeHighBits(p []byte) {
	header := len(p)
	if c.HeaderEnd != 0 {
		header = int(max(0, c.HeaderEnd-c.Size))
	}
	c.HeaderEightBit = c.HeaderEightBit || hasHighBit(p[:header])
	c.BodyEightBit = c.BodyEightBit || hasHighBit(p[header:])
}

// hasHighBit reports whether an octet of p is above 127, 32 at a time.
func hasHighBit(p []byte) bool {
	const high = 0x8080808080808080
	for ; len(p) >= 32; p = p[32:] {
		a := binary.NativeEndian.Uint64(p) | binary.NativeEndian.Uint64(p[8:])
		b := binary.NativeEndian.Uint64(p[16:]) | binary.NativeEndian.Uint64(p[24:])
		if (a|b)&high != 0 {
			return true
		}
	}
	var any byte
	for _, c := range p {
		any |= c
	}
	return any >= utf8.RuneSelf
}
