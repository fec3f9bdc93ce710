package next

import (
	"net/url"
	"strings"
	"testing"
	"unicode"
)

func TestOwn(t *testing.T) {
	t.Parallel()
	for _, to := range []string{"/sessions", "/oauth/authorize?client_id=a&redirect_uri=https%3A%2F%2Fevil.example%2F&scope=mail+read&state=%2F%2Fx", "/%2F/x", "/%5Cx"} {
		if got := Own(to); got != to {
			t.Errorf("%q became %q", to, got)
		}
	}
	for _, to := range []string{"", "//evil.example", `/\evil.example`, "https://evil.example", "/x//y", "/../x", "/x#y", "/\t/x", "/" + strings.Repeat("a", maxNext)} {
		if got := Own(to); got != Home {
			t.Errorf("%q became %q", to, got)
		}
	}
}

// FuzzNext: whatever is asked for, a browser stays with us.
func FuzzNext(f *testing.F) {
	for _, s := range []string{"/a", "//a", `/\a`, "/a?b=c", "/%2f%2fa", "/a/../../b", "/\t/a", "/a#b", "/:80", "/@a"} {
		f.Add(s)
	}
	ours, _ := url.Parse("https://mx.example.org/sign-in")
	f.Fuzz(func(t *testing.T, next string) {
		got := Own(next)
		// What browsers take out or turn around before they read: WHATWG URL,
		// section 4.4.
		seen := strings.ReplaceAll(strings.Map(func(r rune) rune {
			if r <= ' ' || unicode.IsSpace(r) {
				return -1
			}
			return r
		}, got), `\`, "/")
		if seen != got || !strings.HasPrefix(got, "/") || strings.HasPrefix(got, "//") {
			t.Fatalf("%q became %q", next, got)
		}
		u, err := ours.Parse(got)
		if err != nil || u.Host != ours.Host || u.Scheme != "https" {
			t.Fatalf("%q leads to %v, %v", next, u, err)
		}
	})
}
