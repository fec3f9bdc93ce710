package smtp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a reply that another server sends. RFC 5321, section 4.5.3.1.5
// allows it 512 octets a line; many say more in a refusal.
const (
	MaxReadLine   = 4 << 10
	MaxReplyLines = 100
)

// ErrReply says that the other side does not speak SMTP, or not within our
// bounds. Nothing that follows on the connection can be understood.
var ErrReply = errors.New("not a valid SMTP reply")

// ReadReply reads one reply. Its text is made printable, but is another
// server's: not to be trusted. The buffer of r should hold MaxReadLine
// octets; a line that does not fit is an error, as are more than
// MaxReplyLines. Errors are ErrReply, wrapped, or those of r.
func ReadReply(r *bufio.Reader) (Reply, error) {
	var reply Reply
	var text strings.Builder
	for n := 0; ; n++ {
		if n == MaxReplyLines {
			return Reply{}, fmt.Errorf("%w: more than %d lines", ErrReply, MaxReplyLines)
		}
		line, err := readLine(r)
		if err != nil {
			return Reply{}, err
		}
		code, words, more, err := parseReplyLine(line)
		if err != nil {
			return Reply{}, err
		}
		if n > 0 && code != reply.Code {
			return Reply{}, fmt.Errorf("%w: lines with different codes", ErrReply)
		}
		enhanced, rest := cutEnhanced(code, words)
		switch {
		case n == 0:
			reply.Code, reply.Enhanced, words = code, enhanced, rest
		case enhanced != "" && enhanced == reply.Enhanced:
			words = rest
		}
		if n > 0 {
			text.WriteByte('\n')
		}
		text.WriteString(printable(words))
		if !more {
			reply.Text = text.String()
			return reply, nil
		}
	}
}

// readLine returns the next line without its end. A bare LF ends one too: a
// reply is passed on to nobody, so that nothing can be smuggled in it.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) || len(line) > MaxReadLine {
		return nil, fmt.Errorf("%w: line too long", ErrReply)
	}
	if err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
}

// parseReplyLine takes a line apart: RFC 5321, section 4.2. The space after
// the code of a last line may be missing if the text is (section 4.2.1).
func parseReplyLine(line []byte) (code int, text string, more bool, err error) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || line[1] < '0' || line[1] > '5' || line[2] < '0' || line[2] > '9' {
		return 0, "", false, fmt.Errorf("%w: no reply code", ErrReply)
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	if len(line) == 3 {
		return code, "", false, nil
	}
	if line[3] != ' ' && line[3] != '-' {
		return 0, "", false, fmt.Errorf("%w: no space after the code", ErrReply)
	}
	return code, string(line[4:]), line[3] == '-', nil
}

// cutEnhanced splits the enhanced code from a text, if it begins with one
// whose class agrees with the reply's: RFC 2034, section 4.
func cutEnhanced(code int, text string) (enhanced, rest string) {
	word, rest, _ := strings.Cut(text, " ")
	if !IsEnhanced(word) || int(word[0]-'0') != code/100 {
		return "", text
	}
	return word, rest
}

// IsEnhanced reports whether s is an enhanced status code: RFC 3463, section
// 2, a class of 2, 4 or 5 and two numbers of at most three digits.
func IsEnhanced(s string) bool {
	class, rest, _ := strings.Cut(s, ".")
	subject, detail, ok := strings.Cut(rest, ".")
	return ok && (class == "2" || class == "4" || class == "5") && isNumber(subject) && isNumber(detail)
}

func isNumber(s string) bool {
	if len(s) < 1 || len(s) > 3 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// printable replaces what would change a line that the text is quoted in,
// or how it reads: controls, line separators, marks of direction, and what
// is not UTF-8.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control) {
			return '?'
		}
		return r
	}, s)
}
