package message

import (
	"bufio"
	"bytes"
	"io"
)

// fragment is a line, or a piece of one that is longer than the buffer.
type fragment struct {
	text  []byte // valid until the next read
	whole bool   // it begins and ends its line: only such a one can be a delimiter
}

// read returns the next fragment, io.EOF at the end of the message.
func (d *downgrader) read() (fragment, error) {
	text, err := d.in.ReadSlice('\n')
	began := !d.inLine
	d.inLine = err == bufio.ErrBufferFull
	if d.inLine || err == io.EOF && len(text) > 0 {
		err = nil
	}
	return fragment{text, began && !d.inLine}, err
}

// next returns more content of the current entity. At its end it sets stop
// and returns nothing. The line end in front of a delimiter belongs to the
// delimiter (RFC 2046, section 5.1.1), so each is held back until the next
// line is known.
func (d *downgrader) next() ([]byte, error) {
	if d.stop != nil {
		return nil, nil
	}
	f, err := d.read()
	if err == io.EOF {
		d.joined = append(d.joined[:0], d.held...)
		d.held = d.held[:0]
		if len(d.joined) == 0 {
			d.stop = &stop{level: -1}
		}
		return d.joined, nil
	}
	if err != nil {
		return nil, err
	}
	if d.stop = d.delimiter(f); d.stop != nil {
		return nil, nil
	}
	text := trimEnd(f.text)
	d.joined = append(append(d.joined[:0], d.held...), text...)
	d.held = append(d.held[:0], f.text[len(text):]...)
	return d.joined, nil
}

// delimiter returns the stop that a fragment makes, or nil. Any open
// multipart may be meant: an inner one need not have been closed. White space
// after the boundary counts for nothing (RFC 2046, section 5.1.1).
func (d *downgrader) delimiter(f fragment) *stop {
	if !f.whole || !bytes.HasPrefix(f.text, []byte("--")) {
		return nil
	}
	line := string(bytes.TrimRight(f.text, " \t\r\n"))
	for i := len(d.bounds) - 1; i >= 0; i-- {
		last := line == d.bounds[i]+"--"
		if last || line == d.bounds[i] {
			s := &stop{level: i, last: last, delim: append(bytes.Clone(d.held), f.text...)}
			d.held = d.held[:0]
			return s
		}
	}
	return nil
}

// trimEnd returns a line without its end.
func trimEnd(line []byte) []byte {
	line, ended := bytes.CutSuffix(line, []byte("\n"))
	if !ended {
		return line
	}
	return bytes.TrimSuffix(line, []byte("\r"))
}

// header reads the header section of an entity with its empty line. A
// delimiter may stop it early.
func (d *downgrader) header() (header, error) {
	var h header
	for {
		f, err := d.read()
		if err == io.EOF {
			d.stop = &stop{level: -1}
			return h, nil
		}
		if err != nil {
			return h, err
		}
		if d.stop = d.delimiter(f); d.stop != nil {
			return h, nil
		}
		if len(h.raw)+len(f.text) > MaxHeader {
			return h, notConvertible("header too long")
		}
		h.raw = append(h.raw, f.text...)
		if f.whole && len(trimEnd(f.text)) == 0 {
			return h, nil
		}
	}
}
