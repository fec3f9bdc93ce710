package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestEscape(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain – ä 例":  "plain – ä 例",
		"\x1b[2Jgone":  `\x1b[2Jgone`,
		"a\rb\nc":      `a\rb\nc`,
		"exe\u202efdp": `exe\u202efdp`,
		"a\u200bb":     `a\u200bb`,
		"\u0085":       `\u0085`,
		"\xff\xfe":     `\xff\xfe`,
	} {
		if got := escape(in); got != want {
			t.Errorf("%q is shown as %q, want %q", in, got, want)
		}
	}
}

func TestEscapedKeepsLines(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	in := "Subject: \x1b]0;x\x07\r\n\r\ncell\tcell\nno end"
	if _, err := (escaped{&b}).Write([]byte(in)); err != nil {
		t.Fatal(err)
	}
	if want := "Subject: \\x1b]0;x\\a\n\ncell\tcell\nno end"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

// JSON that is printed says what it said, and drives no terminal.
func TestVisible(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"ä 例\t": `"ä 例\t"`, "a\u009b2J": `"a\u009b2J"`, "exe\u202efdp": `"exe\u202efdp"`, "a\x7f": `"a\u007f"`, "\U000e0041": `"\udb40\udc41"`,
	} {
		var b strings.Builder
		if err := printJSON(&b, in); err != nil || b.String() != want+"\n" {
			t.Errorf("%q is printed as %q, %v", in, b.String(), err)
		}
		var back string
		if err := json.Unmarshal([]byte(b.String()), &back); err != nil || back != in {
			t.Errorf("%q is read as %q, %v", in, back, err)
		}
	}
}
