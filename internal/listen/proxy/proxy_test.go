package proxy

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// v2 is a header of version 2.
func v2(command, family byte, rest string) string {
	return string(signature) + string([]byte{command, family, byte(len(rest) >> 8), byte(len(rest))}) + rest
}

const (
	four = "\xc0\x00\x02\x01\xc6\x33\x64\x02\x30\x39\x00\x19" // 192.0.2.1:12345 to 198.51.100.2:25
	six  = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x30\x39\x00\x19"
)

func TestRead(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\r\n":  "192.0.2.1:12345 198.51.100.2:25",
		"PROXY TCP6 2001:db8::1 2001:db8::2 65535 0\r\n":  "[2001:db8::1]:65535 [2001:db8::2]:0",
		"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n": "192.0.2.1:1 [2001:db8::2]:2",
		"PROXY UNKNOWN\r\n":                                 "own",
		"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n":             "own",
		v2(0x21, 0x11, four):                                "192.0.2.1:12345 198.51.100.2:25",
		v2(0x21, 0x21, six):                                 "[2001:db8::1]:12345 [2001:db8::2]:25",
		v2(0x21, 0x11, four+"\x03\x00\x04abcd"):             "192.0.2.1:12345 198.51.100.2:25",
		v2(0x20, 0x00, ""):                                  "own",
		v2(0x20, 0x11, four):                                "own",
		"PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\n":      "",
		"PROXY TCP4 192.0.2.1 198.51.100.2 12345\r\n":       "",
		"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n":        "",
		"PROXY TCP4 192.0.2.1 198.51.100.2 012345 25\r\n":   "",
		"PROXY TCP4 192.0.2.1 198.51.100.2 +1 25\r\n":       "",
		"PROXY TCP4 192.0.2.1 198.51.100.2 65536 25\r\n":    "",
		"PROXY TCP4 192.0.2.1  198.51.100.2 1 25\r\n":       "",
		"PROXY TCP6 fe80::1%eth0 fe80::2 1 25\r\n":          "",
		"PROXY " + strings.Repeat("x", maxText) + "\r\n":    "",
		"proxy tcp4 192.0.2.1 198.51.100.2 12345 25\r\n":    "",
		"EHLO client.example.org\r\nMAIL FROM:<>\r\n":       "",
		v2(0x21, 0x11, four[:11]):                           "",
		v2(0x21, 0x12, four):                                "", // UDP
		v2(0x21, 0x31, strings.Repeat("x", 216)):            "", // a Unix socket
		v2(0x22, 0x11, four):                                "",
		v2(0x11, 0x11, four):                                "",
		v2(0x21, 0x11, four+strings.Repeat("x", maxBinary)): "",
		"": "",
	} {
		for _, r := range []io.Reader{strings.NewReader(in + "EHLO x\r\n"), iotest.OneByteReader(strings.NewReader(in + "EHLO x\r\n"))} {
			h, err := Read(r)
			got := h.From.String() + " " + h.To.String()
			switch {
			case err != nil:
				got = ""
			case h.Own:
				got = "own"
			}
			if got != want {
				t.Errorf("%q: %q, %v", in, got, err)
			}
			if rest, _ := io.ReadAll(r); err == nil && string(rest) != "EHLO x\r\n" {
				t.Errorf("%q: what follows is now %q", in, rest)
			}
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{"PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\r\nEHLO", "PROXY UNKNOWN\r\n", v2(0x21, 0x11, four), v2(0x21, 0x21, six), v2(0x20, 0, "")} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		h, err := Read(r)
		if err == nil && h.Own != !h.From.IsValid() {
			t.Errorf("%q: %+v", in, h)
		}
		if used := len(in) - r.Len(); used > 16+maxBinary {
			t.Errorf("%q: %d octets", in, used)
		}
	})
}
