package smtp

import (
	"math"
	"strconv"
	"strings"
)

// Bdat is a BDAT command: RFC 3030, section 2.
type Bdat struct {
	Size int64 // octets that follow the line
	Last bool
}

var errBdat = &Reply{501, "5.5.4", "the form is BDAT size [LAST]"}

// ParseBdat reads the arguments of BDAT. After an error nobody knows how
// many octets follow: to read them as commands would be to let content give
// orders, so that the session has to end.
func ParseBdat(args string) (Bdat, *Reply) {
	size, last, given := strings.Cut(args, " ")
	if given && !strings.EqualFold(last, "LAST") || !allDigits(size) {
		return Bdat{}, errBdat
	}
	n, err := strconv.ParseUint(size, 10, 64)
	if err != nil || n > math.MaxInt64 {
		return Bdat{}, errBdat
	}
	return Bdat{int64(n), given}, nil
}

// Chunks reads the content that BDAT commands bring, as it comes in, and
// takes note of what it sees. It is ready to use as its zero value.
//
// The client says where a chunk ends, so that nothing in it can be mistaken
// for the end. What is broken is condemned all the same: the message might
// leave us through DATA.
type Chunks struct {
	Content
	left int64 // octets of this chunk that have not come yet
}

// Begin starts a chunk of size octets.
func (c *Chunks) Begin(size int64) { c.left = size }

// Next reads from p, whose octets follow those of the call before. It
// returns the content that they hold, how many octets it has read, and
// whether the chunk has ended.
func (c *Chunks) Next(p []byte) (content []byte, n int, done bool) {
	n = int(min(int64(len(p)), c.left))
	c.left -= int64(n)
	c.see(p[:n])
	return p[:n], n, c.left == 0
}

// End is called after the last chunk. It returns the line end that the last
// line lacks, as part of the content, or nothing.
func (c *Chunks) End() []byte {
	if c.line == 0 {
		return nil
	}
	end := []byte("\r\n")
	c.see(end)
	return end
}
