package message

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Bounds of Downgrade.
const (
	MaxDepth  = 50       // entities within entities
	MaxParts  = 10_000   // entities in all
	MaxHeader = 1 << 20  // octets of one header section
	maxLook   = 64 << 10 // octets of a part that are read before deciding on it
)

// MaxLine is the longest line without its end: RFC 5322, section 2.1.1.
const MaxLine = 998

// ErrNotConvertible says that a message cannot be carried over a 7-bit hop
// unharmed: SMTP reply 554 5.6.3 (RFC 6152, section 3).
var ErrNotConvertible = errors.New("message cannot be converted to 7-bit content")

func notConvertible(why string) error { return fmt.Errorf("%w: %s", ErrNotConvertible, why) }

// Downgrade copies a message from r to w so that it can pass a server without
// 8BITMIME (RFC 6152, section 3): without octets above 127. Parts that are
// 7-bit and have no line over MaxLine stay as they are. Other leaves become
// quoted-printable if they are text and base64 if not, in lines of 76, and
// decode to the same octets; what holds parts is relabelled. A message that
// is not MIME becomes MIME. Boundaries and header fields stay. Lines must end
// in CR LF. It streams and holds less than MaxHeader + 200 KiB.
//
// ErrNotConvertible is returned for 8-bit octets in a header, in anything
// that is signed in its 7-bit form (RFC 1847), in parts that may not be
// encoded (RFC 2045, section 6.4) or are already, and in content whose
// structure readers would not agree on. Part of the message has been written
// then: a caller who cannot take that back runs it into io.Discard first.
func Downgrade(w io.Writer, r io.Reader) error {
	d := &downgrader{in: bufio.NewReaderSize(r, 16<<10), out: bufio.NewWriterSize(w, 16<<10)}
	if err := d.entity(outermost, 0); err != nil {
		return err
	}
	return d.out.Flush()
}

// downgrader is one pass over a message.
type downgrader struct {
	in     *bufio.Reader
	out    *bufio.Writer
	bounds []string     // delimiters of the open multiparts, "--" and boundary, outermost first
	parts  int          // entities so far
	look   bytes.Buffer // start of the leaf that is being decided on

	inLine bool   // in stands within a line
	held   []byte // end of the last line: content, or part of the delimiter that follows
	joined []byte // what next returned
	stop   *stop  // what ended the content of the current entity; nil within it
}

// stop is the end of an entity's content.
type stop struct {
	level int    // index in bounds; -1 is the end of the message
	last  bool   // the delimiter closes its multipart
	delim []byte // the delimiter's line, with the line end in front that belongs to it
}

// place tells where an entity stands, which decides what its header means.
type place uint8

const (
	outermost place = iota // a whole message, also within message/rfc822
	part                   // in a multipart
	digest                 // in a multipart/digest: RFC 2046, section 5.1.5
)

// entity copies one entity, header and body, up to what ends it.
func (d *downgrader) entity(at place, depth int) error {
	if d.parts++; d.parts > MaxParts {
		return notConvertible("too many parts")
	}
	h, err := d.header()
	if err != nil {
		return err
	}
	k, err := h.kind(at)
	if err != nil {
		return err
	}
	if depth == MaxDepth && k.way != leaf {
		k.way = verbatim
	}
	if d.stop != nil { // a header and nothing else
		d.out.Write(h.sevenBit())
		return nil
	}
	switch k.way {
	case container:
		d.out.Write(h.sevenBit())
		return d.multipart(k, depth)
	case nested:
		d.out.Write(h.sevenBit())
		return d.entity(outermost, depth+1)
	case leaf:
		return d.leaf(h, k, at)
	}
	d.out.Write(h.raw)
	return d.verbatim()
}

// multipart copies the parts of a container, and the text around them.
func (d *downgrader) multipart(k kind, depth int) error {
	mine := len(d.bounds)
	d.bounds = append(d.bounds, "--"+k.boundary)
	err := d.filler()
	for err == nil && d.stop.level == mine && !d.stop.last {
		d.resume()
		err = d.entity(k.children, depth+1)
	}
	d.bounds = d.bounds[:mine]
	if err != nil || d.stop.level != mine {
		return err
	}
	d.resume()
	return d.filler()
}

// resume writes the delimiter that stopped the last entity and goes on
// behind it.
func (d *downgrader) resume() {
	d.out.Write(d.stop.delim)
	d.stop = nil
}

// filler copies a preamble or epilogue. Readers ignore these (RFC 2046,
// section 5.1.1), so their 8-bit octets become question marks and their long
// lines are cut, rather than the whole message being refused.
func (d *downgrader) filler() error {
	column := 0
	for {
		p, err := d.next()
		if err != nil || d.stop != nil {
			return err
		}
		for _, c := range p {
			switch {
			case c == '\r':
				continue
			case c == '\n':
				d.out.WriteString("\r\n")
				column = 0
				continue
			case c >= 0x80 || c == 0:
				c = '?'
			}
			if column++; column <= MaxLine {
				d.out.WriteByte(c)
			}
		}
	}
}

// verbatim copies what must not be touched.
func (d *downgrader) verbatim() error {
	for {
		p, err := d.next()
		if err != nil || d.stop != nil {
			return err
		}
		if !isSevenBit(p) {
			return notConvertible("8-bit octets in a part that may not be encoded")
		}
		d.out.Write(p)
	}
}

// leaf copies a part that holds no others. Whether it must be encoded is
// found by reading ahead; one that is longer than that is encoded to be
// safe, which harms no content.
func (d *downgrader) leaf(h header, k kind, at place) error {
	d.look.Reset()
	for d.stop == nil && d.look.Len() < maxLook {
		p, err := d.next()
		if err != nil {
			return err
		}
		d.look.Write(p)
	}
	if d.stop != nil && fits(d.look.Bytes()) {
		d.out.Write(h.sevenBit())
		d.out.Write(d.look.Bytes())
		return nil
	}
	if at == outermost {
		h.makeMIME(d.look.Bytes())
	}
	return d.encode(h, k.text)
}

// encode writes a leaf whose beginning was read ahead.
func (d *downgrader) encode(h header, text bool) error {
	e, label := newEncoder(d.out, text)
	d.out.Write(h.labelled(label))
	e.Write(d.look.Bytes())
	for d.stop == nil {
		p, err := d.next()
		if err != nil {
			return err
		}
		e.Write(p)
	}
	e.finish(d.stop.level < 0)
	return nil
}

// isSevenBit reports whether p holds nothing but the octets 1 to 127.
func isSevenBit(p []byte) bool {
	for _, c := range p {
		if c == 0 || c >= 0x80 {
			return false
		}
	}
	return true
}

// fits reports whether p is 7bit data as RFC 2045, section 2.7 has it.
func fits(p []byte) bool {
	for line := range bytes.Lines(p) {
		line, ended := bytes.CutSuffix(line, []byte("\n"))
		line, crlf := bytes.CutSuffix(line, []byte("\r"))
		if ended != crlf || len(line) > MaxLine || !isSevenBit(line) || bytes.IndexByte(line, '\r') >= 0 {
			return false
		}
	}
	return true
}
