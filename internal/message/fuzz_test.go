package message

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"gatepost/internal/addr"
)

func FuzzHeader(f *testing.F) {
	f.Add([]byte("From: a@example.org\r\nSubject: x\r\n y\r\n\r\n"))
	f.Add([]byte("From : a@example.org\nno field\n : x\n\nbody"))
	f.Add([]byte("A:\r\n \r\n\t\r\n\r\n"))
	f.Fuzz(func(t *testing.T, header []byte) {
		raw, named, from := 0, 0, 0
		for f := range Fields(header) {
			raw += len(f.Raw)
			if f.Name() != "" {
				named++
			}
			if f.Is("From") {
				from++
			}
			if strings.ContainsAny(f.Value(), "\r\n") {
				t.Errorf("line end in the value %q", f.Value())
			}
		}
		if rest := header[raw:]; len(rest) > 0 && !emptyLine(rest) {
			t.Errorf("fields end before %q", rest)
		}
		if n := Count(header, "from"); n != from {
			t.Errorf("%d From fields, counted %d", from, n)
		}
		without := Remove(header, "From")
		if Has(without, "From") {
			t.Errorf("From is left in %q", without)
		}
		if Check(header) != nil {
			return
		}
		if strings.Count(string(header), ":") < named || named > MaxFields {
			t.Errorf("%d fields pass in %q", named, header)
		}
		if err := Check(without); err != nil && from > 0 {
			t.Errorf("removing a field broke the section: %v", err)
		}
		if list, err := Senders(header); err == nil && (from != 1 || len(list) == 0) {
			t.Errorf("%d From fields give %v", from, list)
		}
	})
}

func FuzzAddresses(f *testing.F) {
	for _, s := range []string{
		"a@example.org, B <b@example.org>", `"a \" b"@[192.0.2.1]`, "G: a (c (d)) @ b.org;", "Jürgen <ü@ü.example>", "<@a:b@c>", "=?x?q?a?=@b",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		list, err := Addresses(value)
		if err != nil {
			return
		}
		if strings.Count(value, "@") < len(list) {
			t.Errorf("%q: more addresses than at signs: %v", value, list)
		}
		for _, a := range list {
			again, err := addr.Parse(a.String())
			if err != nil || again != a {
				t.Errorf("%q: %q is no address: %v", value, a, err)
			}
			one, err := Addresses("x <" + a.String() + ">")
			if err != nil || len(one) != 1 || one[0] != a {
				t.Errorf("%q: written again it is %v, %v", a, one, err)
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{"=?utf-8?q?=C3=BC?= =?utf-8?b?w7w=?=", "=?iso-2022-jp?b?GyRCRnxLXBsoQg==?=", "=?a*b?q?x?=", "\u202ea\x00", "=?=?=?"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got := Decode(value)
		if !utf8.ValidString(got) {
			t.Errorf("%q: not UTF-8: %q", value, got)
		}
		for _, r := range got {
			if unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp) {
				t.Errorf("%q: %U is left", value, r)
			}
		}
	})
}

func FuzzParseDate(f *testing.F) {
	f.Add("Fri, 21 Nov 1997 09:55:06 -0600 (x)")
	f.Add("1 Jan 70 00:00 EST")
	f.Fuzz(func(t *testing.T, value string) {
		at, err := ParseDate(value)
		if err != nil || at.Year() < 0 || at.Year() > 9999 {
			return
		}
		if again, err := ParseDate(Date(at)); err != nil || !again.Equal(at) {
			t.Errorf("%q is %v, then %v (%v)", value, at, again, err)
		}
	})
}

func FuzzDowngrade(f *testing.F) {
	for _, s := range []string{
		"Subject: x\n\nü\n",
		"Content-Type: multipart/mixed; boundary=b\n\né\n--b\nContent-Transfer-Encoding: 8bit\n\nü--b\n--b\nContent-Type: message/rfc822\n\n\xff\n--b--\né",
		"Content-Type: multipart/digest; boundary=b\n\n--b\n\nContent-Type: multipart/signed; boundary=c\n\n--c\nü\n",
	} {
		f.Add(crlf(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		downgrade(string(in)) // what does not end lines in CR LF must do no harm
		in = bytes.ReplaceAll(bytes.ReplaceAll(in, []byte("\r"), nil), []byte("\n"), []byte("\r\n"))
		out, err := downgrade(string(in))
		if err != nil {
			if !errors.Is(err, ErrNotConvertible) {
				t.Errorf("unexpected error %v", err)
			}
			return
		}
		checkSevenBit(t, out)
		again, err := downgrade(out)
		if err != nil || again != out {
			t.Errorf("a second pass: %v\n%q\n%q", err, out, again)
		}
	})
}
