package smtp

import "unicode/utf8"

// Bounds of a command line in octets, its CR LF included.
const (
	// MaxLine is the bound of RFC 5321, section 4.5.3.1.4, for every command
	// that no extension makes longer.
	MaxLine = 512
	// MaxMailLine adds what the parameters of MAIL may take: SIZE 26 (RFC
	// 1870, section 3), SMTPUTF8 10 (RFC 6531, section 3.1), AUTH 500 (RFC
	// 4954, section 3), and with the space before them BODY 16 (RFC 6152,
	// section 2), RET 9 and ENVID 107 (RFC 3461, sections 4.3 and 4.4).
	MaxMailLine = MaxLine + 26 + 10 + 500 + 16 + 9 + 107
	// MaxRcptLine adds NOTIFY 29 and ORCPT 507 (RFC 3461, sections 4.1 and
	// 4.2).
	MaxRcptLine = MaxLine + 29 + 507
	// MaxAuthLine is for AUTH and for every response that follows it: RFC
	// 4954, section 4.
	MaxAuthLine = 12288
)

// Command is a line that can be a command: a known verb, and arguments
// without control characters that are valid UTF-8.
type Command struct {
	Verb string // in upper case; one of the verbs of RFC 5321 and its extensions, or HTTP
	Args string // what follows the space, without trailing space
}

// HTTP is the verb of lines that a web browser would send. Somebody tricked
// one into talking to us; whatever else it sends is chosen by an attacker.
const HTTP = "HTTP"

// verbs maps each known verb to itself, so that a Command holds no copy.
var verbs = map[string]string{
	"HELO": "HELO", "EHLO": "EHLO", "MAIL": "MAIL", "RCPT": "RCPT", "DATA": "DATA", "BDAT": "BDAT",
	"RSET": "RSET", "NOOP": "NOOP", "QUIT": "QUIT", "VRFY": "VRFY", "EXPN": "EXPN", "HELP": "HELP",
	"STARTTLS": "STARTTLS", "AUTH": "AUTH", "XCLIENT": "XCLIENT",
	"GET": HTTP, "HEAD": HTTP, "POST": HTTP, "PUT": HTTP, "DELETE": HTTP, "CONNECT": HTTP,
	"OPTIONS": HTTP, "TRACE": HTTP, "PATCH": HTTP, "PRI": HTTP, "PROPFIND": HTTP,
}

const longestVerb = 8

// Replies to lines that are no command.
var (
	errControl = &Reply{500, "5.5.2", "control characters are not allowed in commands"}
	errNotUTF8 = &Reply{500, "5.5.2", "command is not valid UTF-8"}
	errNoVerb  = &Reply{500, "5.5.2", "not a command"}
	errVerb    = &Reply{500, "5.5.1", "unknown command"}
)

// ParseCommand reads a line, given without its CR LF, or says what to reply
// to it. A CR, LF or NUL in it is a control character like any other.
func ParseCommand(line []byte) (Command, *Reply) {
	ascii := true
	for _, c := range line {
		if c < ' ' || c == 0x7f {
			return Command{}, errControl
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	if !ascii && !utf8.Valid(line) {
		return Command{}, errNotUTF8
	}
	// RFC 5321, section 4.1.1: trailing white space is to be tolerated.
	for len(line) > 0 && line[len(line)-1] == ' ' {
		line = line[:len(line)-1]
	}
	word, args := cutSpace(line)
	if len(word) == 0 {
		return Command{}, errNoVerb
	}
	verb := lookUp(word)
	if verb == "" {
		return Command{}, errVerb
	}
	return Command{verb, string(args)}, nil
}

// lookUp returns the verb that word spells in any case, or nothing.
func lookUp(word []byte) string {
	var upper [longestVerb]byte
	if len(word) > len(upper) {
		return ""
	}
	for i, c := range word {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		upper[i] = c
	}
	return verbs[string(upper[:len(word)])]
}

func cutSpace(line []byte) (word, rest []byte) {
	for i, c := range line {
		if c == ' ' {
			return line[:i], line[i+1:]
		}
	}
	return line, nil
}

// LineLimit returns how many octets a line may have, its CR LF included,
// from how it begins.
func LineLimit(line []byte) int {
	word, _ := cutSpace(line[:min(len(line), longestVerb+1)])
	switch lookUp(word) {
	case "MAIL":
		return MaxMailLine
	case "RCPT":
		return MaxRcptLine
	case "AUTH":
		return MaxAuthLine
	}
	return MaxLine
}
