package message

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestDecode(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, value, want string }{
		{"plain", "Hello, world", "Hello, world"},
		{"Q", "=?utf-8?Q?Gr=C3=BC=C3=9Fe_an_alle?=", "Grüße an alle"},
		{"B", "=?UTF-8?B?R3LDvMOfZQ==?=", "Grüße"},
		{"B without padding", "=?UTF-8?B?R3LDvMOfZQ?=", "Grüße"},
		{"Latin-1", "=?iso-8859-1?q?caf=E9?=", "café"},
		{"Windows-1252", "=?windows-1252?q?=80_5?=", "€ 5"},
		{"Shift_JIS", "=?shift_jis?B?k/qWew==?=", "日本"},
		{"ISO-2022-JP", "=?ISO-2022-JP?B?GyRCRnxLXBsoQg==?=", "日本"},
		{"GB2312", "=?gb2312?B?1tC5+g==?=", "中国"},
		{"Big5", "=?big5?B?pKSw6g==?=", "中國"},
		{"KOI8-R", "=?koi8-r?q?=EF=C7=CF?=", "Ого"},
		{"language", "=?utf-8*de?q?=C3=BC?= x", "ü x"},
		{"two words", "=?utf-8?q?a?= =?utf-8?q?b?=", "ab"},
		{"two words folded", "=?utf-8?q?a?=\r\n =?utf-8?q?b?=", "ab"},
		{"two charsets", "=?utf-8?q?=C3=BC?= =?iso-8859-1?q?=FC?=", "üü"},
		{"character cut in two", "=?utf-8?q?=C3?= =?utf-8?q?=BC?=", "ü"},
		{"text between", "=?utf-8?q?a?= and =?utf-8?q?b?=", "a and b"},
		{"space inside word", "=?utf-8?q?a b?=", "a b"},
		{"unknown charset", "=?klingon?q?a?= b", "=?klingon?q?a?= b"},
		{"unknown encoding", "=?utf-8?x?a?=", "=?utf-8?x?a?="},
		{"bad Q", "=?utf-8?q?=G1?=", "=?utf-8?q?=G1?="},
		{"bad B", "=?utf-8?b?!?=", "=?utf-8?b?!?="},
		{"unfinished, then good", "=? =?utf-8 =?utf-8?q?=C3=BC?=", "=? =?utf-8 ü"},
		{"line breaks from words", "=?utf-8?q?a=0D=0ABcc:_x?=", "aBcc: x"},
		{"controls", "a\x00b\x1b[31mc\x7f\u0085d\te", "ab[31mcd e"},
		{"direction", "\u202egpj.exe \u2066x\u2069 =?utf-8?b?4oCu?=", "gpj.exe x "},
		{"line separators", "a\u2028b\u2029c", "abc"},
		{"joiner stays", "\U0001F469\u200d\U0001F680", "\U0001F469\u200d\U0001F680"},
		{"not UTF-8", "caf\xe9", "caf\uFFFD"},
		{"folded", "a\r\n b", "a b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := Decode(tt.value); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// A flood of words must not cost more than their length.
func TestDecodeFlood(t *testing.T) {
	t.Parallel()
	for _, value := range []string{
		strings.Repeat("=?", 1<<20),
		strings.Repeat("=?utf-8?q?", 1<<18),
		strings.Repeat("=?utf-8?q?a?= ", 1<<18),
		strings.Repeat("=?utf-8?b?", 1<<18) + "?=",
	} {
		if got := Decode(value); len(got) > 2*maxDecode || !utf8.ValidString(got) {
			t.Errorf("%.20q: %d octets", value, len(got))
		}
	}
}

func TestDate(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 3, 4, 5, 6, 789, time.FixedZone("CET", 3600))
	if got, want := Date(at), "Tue, 03 Nov 2026 04:05:06 +0100"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := Date(at.UTC()), "Tue, 03 Nov 2026 03:05:06 +0000"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, err := ParseDate(Date(at)); err != nil || !got.Equal(at.Truncate(time.Second)) {
		t.Errorf("round trip: %v, %v", got, err)
	}
}

func TestParseDate(t *testing.T) {
	t.Parallel()
	tests := []struct{ value, want string }{
		{"Fri, 21 Nov 1997 09:55:06 -0600", "1997-11-21T09:55:06-06:00"},
		{"21 Nov 97 09:55 GMT", "1997-11-21T09:55:00Z"},
		{"Fri, 21 Nov 97 09:55:06 EST", "1997-11-21T09:55:06-05:00"},
		{"Thu,\r\n 13\tFeb 1969 23:32 -0330 (Newfoundland Time)", "1969-02-13T23:32:00-03:30"},
		{"Mon, 1 Jan 101 00:00:00 +0000", "2001-01-01T00:00:00Z"},
		{"1 Jan 30 00:00:00", "2030-01-01T00:00:00Z"},
		{"Wed, 03 September 2008 12:00:00 +00:30", "2008-09-03T12:00:00+00:30"},
		{"Wed, 3 Sep 2008 12:00:60 Z", "2008-09-03T12:01:00Z"},
		{"Wed, 3 Sep 2008 12:00:00 Mars", "2008-09-03T12:00:00Z"},
		{"3 Sep 2008 (x (y) z) 12:00:00 +0200", "2008-09-03T12:00:00+02:00"},
	}
	for _, tt := range tests {
		got, err := ParseDate(tt.value)
		if err != nil || got.Format(time.RFC3339) != tt.want {
			t.Errorf("%q: got %v, %v; want %s", tt.value, got.Format(time.RFC3339), err, tt.want)
		}
	}
	for _, value := range []string{
		"", "now", "Fri, 21 Nov 1997", "32 Nov 1997 00:00 +0000", "30 Feb 2020 00:00 +0000", "21 Nix 1997 00:00 +0000",
		"21 Nov 1997 24:00 +0000", "21 Nov 1997 00:60 +0000", "21 Nov 1997 1 +0000", "21 Nov 1997 00:00 +000",
		"21 Nov 1997 00:00 +0x00", "-1 Nov 1997 00:00 +0000", "21 anf 1997 00:00", strings.Repeat("(", 1<<20),
	} {
		if got, err := ParseDate(value); err == nil {
			t.Errorf("%.40q: accepted as %v", value, got)
		}
	}
}

func TestNewMessageID(t *testing.T) {
	t.Parallel()
	random := strings.NewReader("0123456789abcdef")
	got, err := NewMessageID(random, "mx.example.org")
	if want := "<60rk4csm6mv3ee1sc5h66s35cr@mx.example.org>"; err != nil || got != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if list, err := Addresses(got); err != nil || len(list) != 1 {
		t.Errorf("%q does not have the syntax of an address: %v", got, err)
	}
	if _, err := NewMessageID(random, "mx.example.org"); err == nil {
		t.Error("no error without randomness")
	}
}

// What turns text around is found, plain and encoded; Decode leaves it out.
func TestOverrides(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{
		"": false, "Anna": false, "=?utf-8?q?Anna?=": false, "\u200f\u05d0": false, // a mark that turns nothing
		"a\u202eb": true, "=?utf-8?q?a=E2=80=AEb?=": true, "=?utf-8?b?4oGm?=": true,
	} {
		if got := Overrides(value); got != want {
			t.Errorf("%q: %v", value, got)
		}
		if Overrides(Decode(value)) {
			t.Errorf("%q: it stays", value)
		}
	}
}
