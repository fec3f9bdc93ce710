package sasl

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestParseBearer(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][2]string{
		// RFC 7628, section 4.1.
		"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01": {"user@example.com", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="},
		"n,,\x01auth=Bearer token\x01\x01":                     {"", "token"},
		"y,a=a=2Cb=3Dc,\x01auth=bearer token\x01\x01":          {"a,b=c", "token"},
		"n,a=h\u00e9nry@example.org,\x01auth=BEARER t\x01\x01": {"h\u00e9nry@example.org", "t"},
	} {
		login, token, err := ParseBearer([]byte(in))
		if got := [2]string{login, token}; err != nil || got != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for _, in := range []string{
		"", "\x01", "n,,", "n,,\x01", "n,,\x01\x01", "n,,\x01auth=Bearer t", "n,,\x01auth=Bearer t\x01", "n,,\x01auth=Bearer t\x01\x01x",
		"n,,\x01auth=Bearer t\x01auth=Bearer u\x01\x01", "n,,\x01host=x\x01\x01", "n,,\x01auth=Basic dTpw\x01\x01", "n,,\x01auth=Bearer \x01\x01",
		"n,,\x01auth=Bearer a b\x01\x01", "n,,\x01auth=Bearert\x01\x01", "n,,\x01Auth=Bearer t\x01\x01", "n,,\x01=x\x01auth=Bearer t\x01\x01",
		"n,,\x01auth=Bearer t\x00\x01\x01", "n,,\x01auth=Bearer t\xff\x01\x01", "n,,\x01host=a\x00\x01auth=Bearer t\x01\x01",
		"p=tls-exporter,,\x01auth=Bearer t\x01\x01", "n,henry,\x01auth=Bearer t\x01\x01", "n,a=,\x01auth=Bearer t\x01\x01",
		"n,a=x=y,\x01auth=Bearer t\x01\x01", "n,a=x=2c,\x01auth=Bearer t\x01\x01", "n,a=x,y\x01auth=Bearer t\x01\x01", "n,a=x,,\x01auth=Bearer t\x01\x01",
		"n,,\x01auth=Bearer " + strings.Repeat("x", maxBearer+1) + "\x01\x01",
		"n,," + strings.Repeat("\x01host=x", maxPairs) + "\x01auth=Bearer t\x01\x01",
		"user=henry\x01auth=Bearer t\x01\x01",
	} {
		if login, token, err := ParseBearer([]byte(in)); !errors.Is(err, ErrMessage) || token != "" {
			t.Errorf("%.60q: %q, %q, %v", in, login, token, err)
		}
	}
}

func TestParseXOAuth2(t *testing.T) {
	t.Parallel()
	login, token, err := ParseXOAuth2([]byte("user=someuser@example.com\x01auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg\x01\x01"))
	if login != "someuser@example.com" || token != "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg" || err != nil {
		t.Errorf("%q, %q, %v", login, token, err)
	}
	for _, in := range []string{
		"", "user=", "user=\x01auth=Bearer t\x01\x01", "user=henry", "user=henry\x01\x01", "user=henry\x01auth=Bearer t\x01",
		"user=henry\x01user=anna\x01auth=Bearer t\x01\x01", "auth=Bearer t\x01user=henry\x01\x01", "user=hen\x00ry\x01auth=Bearer t\x01\x01",
		"n,a=henry,\x01auth=Bearer t\x01\x01", "user=\xff\x01auth=Bearer t\x01\x01",
	} {
		if login, token, err := ParseXOAuth2([]byte(in)); !errors.Is(err, ErrMessage) || token != "" {
			t.Errorf("%q: %q, %q, %v", in, login, token, err)
		}
	}
}

func TestBearerFailure(t *testing.T) {
	t.Parallel()
	for mechanism, want := range map[string]string{
		OAuthBearer: `{"status":"invalid_token","scope":"mail.send","openid-configuration":"https://mx.example.org/x"}`,
		XOAuth2:     `{"status":"401","schemes":"bearer","scope":"mail.send"}`,
	} {
		got := BearerFailure(mechanism, "mail.send", "https://mx.example.org/x")
		if string(got) != want || !json.Valid(got) {
			t.Errorf("%s: %s", mechanism, got)
		}
	}
}

func FuzzBearer(f *testing.F) {
	for _, s := range []string{
		"n,a=user@example.com,\x01host=x\x01port=1\x01auth=Bearer vF9d==\x01\x01", "n,,\x01auth=Bearer t\x01\x01", "y,a=a=2Cb=3D,\x01auth=bearer t\x01\x01",
		"user=a@b.c\x01auth=Bearer t\x01\x01", "user=a\x01auth=Bearer t\x01user=b\x01\x01", "n,,\x01\x01\x01", "\x01", "n,a==,\x01",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, parse := range []func([]byte) (string, string, error){ParseBearer, ParseXOAuth2} {
			login, token, err := parse(in)
			switch {
			case err != nil && token != "":
				t.Errorf("%q: token %q beside %v", in, token, err)
			case err == nil && (token == "" || len(token) > maxBearer || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f })):
				t.Errorf("%q: token %q", in, token)
			case err == nil && strings.ContainsFunc(login, control):
				t.Errorf("%q: login %q", in, login)
			case err == nil && strings.Count(strings.ToLower(string(in)), "auth=bearer") < 1:
				t.Errorf("%q: where is the token %q?", in, token)
			}
		}
	})
}
