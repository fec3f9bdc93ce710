package smtp

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestAppendReply(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reply Reply
		want  string
	}{
		{Reply{250, "", "ok"}, "250 ok\r\n"},
		{Reply{250, "2.0.0", ""}, "250 2.0.0 \r\n"},
		{Reply{550, "5.1.1", "no\nsuch user"}, "550-5.1.1 no\r\n550 5.1.1 such user\r\n"},
		{Reply{550, "5.1.1", "a\r\n250 ok\x00\x7fü"}, "550-5.1.1 a?\r\n550 5.1.1 250 ok????\r\n"},
	} {
		if got := string(c.reply.Append(nil)); got != c.want {
			t.Errorf("%+v: %q, want %q", c.reply, got, c.want)
		}
	}
	for _, text := range []string{strings.Repeat("word ", 500), strings.Repeat("x", 2000)} {
		r := Reply{550, "5.7.1", text}
		lines := strings.SplitAfter(strings.TrimSuffix(string(r.Append(nil)), "\r\n"), "\r\n")
		for i, l := range lines {
			begin := "550-5.7.1 "
			if i == len(lines)-1 {
				begin = "550 5.7.1 "
			}
			if len(l) > MaxReplyLine || !strings.HasPrefix(l, begin) {
				t.Errorf("line %d of %d octets: %q", i, len(l), l)
			}
		}
		if len(lines) < 4 {
			t.Errorf("%d lines", len(lines))
		}
	}
}

func read(s string) (Reply, error) {
	return ReadReply(bufio.NewReaderSize(strings.NewReader(s), MaxReadLine))
}

func TestReadReply(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]Reply{
		"250 ok\r\n":                            {250, "", "ok"},
		"250\r\n":                               {250, "", ""},
		"250 2.0.0 queued\r\n":                  {250, "2.0.0", "queued"},
		"250 2.0.0\r\n":                         {250, "2.0.0", ""},
		"250 5.0.0 odd\r\n":                     {250, "", "5.0.0 odd"},
		"250-mx\r\n250-SIZE 1\r\n250 HELP\r\n":  {250, "", "mx\nSIZE 1\nHELP"},
		"550-5.1.1 a\r\n550 5.1.1 b\r\n":        {550, "5.1.1", "a\nb"},
		"550-5.1.1 a\r\n550 5.7.1 b\r\n":        {550, "5.1.1", "a\n5.7.1 b"},
		"550 \x1b[2Ja\rb\u202ec\xffd\u0085\r\n": {550, "", "?[2Ja?b?c?d?"},
		"250 ok\n":                              {250, "", "ok"},
	} {
		if got, err := read(s); got != want || err != nil {
			t.Errorf("%q: %+v %v, want %+v", s, got, err, want)
		}
	}
	for _, s := range []string{"25\r\n", "\r\n", "199 x\r\n", "600 x\r\n", "290 x\r\n", "2x0 x\r\n", "250x\r\n", "250-a\r\n251 b\r\n",
		"SSH-2.0-x\r\n", "250 " + strings.Repeat("x", MaxReadLine) + "\r\n", strings.Repeat("250-x\r\n", MaxReplyLines) + "250 x\r\n"} {
		if got, err := read(s); !errors.Is(err, ErrReply) {
			t.Errorf("%.40q: %+v %v", s, got, err)
		}
	}
	for _, s := range []string{"", "250 ok", "250-a\r\n"} {
		if got, err := read(s); !errors.Is(err, io.EOF) {
			t.Errorf("%q: %+v %v", s, got, err)
		}
	}
}

func FuzzReply(f *testing.F) {
	for _, s := range []string{"250 ok\r\n", "250-2.0.0 a\r\n250 2.0.0 b\r\n", "550 5.1.1\r\n", "220", "250-a\n250 \xff\n", "354\r\n250 x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := read(s)
		if err != nil {
			return
		}
		if r.Code < 200 || r.Code > 559 || r.Enhanced != "" && !IsEnhanced(r.Enhanced) {
			t.Errorf("%q: %+v", s, r)
		}
		clean(t, strings.ReplaceAll(r.Text, "\n", " "))
		// Whatever a text holds, it is one reply when it is sent on.
		out := string(r.Append(nil))
		again, err := read(out)
		if err != nil || again.Code != r.Code || again.Enhanced != r.Enhanced || strings.Count(out, "\r\n") != strings.Count(out, "\n") {
			t.Errorf("%+v becomes %q, read as %+v %v", r, out, again, err)
		}
	})
}
