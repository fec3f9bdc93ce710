package smtp

import (
	"encoding/base64"
	"strings"
)

var (
	errAuth   = &Reply{501, "5.5.4", "the form is AUTH mechanism [initial-response]"}
	errBase64 = &Reply{501, "5.5.2", "that is not valid base64"}
	errCancel = &Reply{501, "5.7.0", "sign-in cancelled"}
)

// maxMechanism bounds a mechanism's name: RFC 4422, section 3.1.
const maxMechanism = 20

// ParseAuth reads the arguments of AUTH: RFC 4954, section 4. The mechanism
// is in upper case. response is nil if there is no initial response, and
// empty if there is an empty one, written "=".
func ParseAuth(args string) (mechanism string, response []byte, bad *Reply) {
	mechanism, initial, given := strings.Cut(args, " ")
	mechanism = strings.ToUpper(mechanism)
	if mechanism == "" || len(mechanism) > maxMechanism {
		return "", nil, errAuth
	}
	for i := 0; i < len(mechanism); i++ {
		switch c := mechanism[i]; {
		case 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return "", nil, errAuth
		}
	}
	switch {
	case !given:
		return mechanism, nil, nil
	case initial == "=":
		return mechanism, []byte{}, nil
	case initial == "":
		return "", nil, errAuth
	}
	response, bad = decodeBase64([]byte(initial))
	return mechanism, response, bad
}

// ParseResponse reads a line, given without its CR LF, that answers a
// challenge. The response is never nil.
func ParseResponse(line []byte) (response []byte, bad *Reply) {
	if string(line) == "*" {
		return nil, errCancel
	}
	return decodeBase64(line)
}

// decodeBase64 decodes strictly: RFC 4954, section 4 has padding only at the
// end. The decoder skips CR and LF, which no response has.
func decodeBase64(s []byte) ([]byte, *Reply) {
	strict := base64.StdEncoding.Strict()
	b := make([]byte, strict.DecodedLen(len(s)))
	n, err := strict.Decode(b, s)
	if err != nil || strings.ContainsAny(string(s), "\r\n") {
		return nil, errBase64
	}
	return b[:n], nil
}
