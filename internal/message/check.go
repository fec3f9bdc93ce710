package message

import (
	"bytes"
	"fmt"
)

// Check reports the first thing that is wrong with the syntax of a header
// section (RFC 5322, section 2.2), with the number of its line. The empty
// line at the end may be missing; nothing may follow it.
//
// It is strict where readers would disagree about what is a field: a name
// before white space and a colon (RFC 5322, section 4.5; unseen in 3,400
// real messages), lines without a colon, bare CR and LF. It lets pass what is
// only old: a line of white space within a fold (section 4.2; two of the
// 3,400), which no reader of RFC 5322 takes for the end of the header. Octets
// above 127 may stand in values (RFC 6532), not in names. Length is not
// judged: the session bounds lines.
func Check(header []byte) error {
	fields, line := 0, 0
	for rest := header; len(rest) > 0; {
		line++
		n := bytes.IndexByte(rest, '\n') + 1
		if n < 2 || rest[n-2] != '\r' {
			return lineError(line, ErrLineEnd)
		}
		text := rest[:n-2]
		rest = rest[n:]
		if len(text) == 0 {
			if len(rest) > 0 {
				return lineError(line+1, ErrAfterBlank)
			}
			return nil
		}
		continued := text[0] == ' ' || text[0] == '\t'
		if err := checkLine(text, continued, line == 1); err != nil {
			return lineError(line, err)
		}
		if continued {
			continue
		}
		if fields++; fields > MaxFields {
			return lineError(line, ErrTooMany)
		}
	}
	return nil
}

func lineError(line int, err error) error { return fmt.Errorf("header line %d: %w", line, err) }

// checkLine judges one line without its end.
func checkLine(text []byte, continued, first bool) error {
	for _, c := range text {
		if c < ' ' && c != '\t' || c == 0x7f {
			return ErrControl
		}
	}
	if continued {
		if first {
			return ErrFold
		}
		return nil
	}
	if bytes.HasPrefix(text, []byte("From ")) {
		return ErrMbox
	}
	colon := bytes.IndexByte(text, ':')
	if colon < 0 || !validName(text[:colon]) {
		return ErrFieldName
	}
	return nil
}
