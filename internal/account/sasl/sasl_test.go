package sasl

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/xdg-go/scram"
)

func TestParsePlain(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][3]string{
		"\x00henry\x00secret":                        {"", "henry", "secret"},
		"henry\x00henry\x00secret":                   {"henry", "henry", "secret"},
		"\x00henry@example.org\x00 a b ":             {"", "henry@example.org", " a b "},
		"\x00h\u00e9nry\x00\u00e9":                   {"", "h\u00e9nry", "\u00e9"},
		"a\x00b\x00\r\n":                             {"a", "b", "\r\n"}, // for the policy to refuse
		"\x00" + strings.Repeat("x", 9000) + "\x00y": {"", strings.Repeat("x", 9000), "y"},
	} {
		authzid, login, password, err := ParsePlain([]byte(in))
		if got := [3]string{authzid, login, password}; err != nil || got != want {
			t.Errorf("%.20q: %.20q, %v", in, got, err)
		}
	}
	for _, in := range []string{
		"", "henry", "\x00", "\x00\x00", "\x00\x00\x00", "henry\x00secret", "\x00henry\x00", "\x00\x00secret",
		"\x00henry\x00secret\x00", "a\x00b\x00c\x00d", "\x00\x00henry\x00secret", "\x00h\xff\x00secret", "\x00henry\x00\xc3",
	} {
		if _, login, password, err := ParsePlain([]byte(in)); !errors.Is(err, ErrMessage) || login != "" || password != "" {
			t.Errorf("%q: %q, %q, %v", in, login, password, err)
		}
	}
}

func TestParseLogin(t *testing.T) {
	t.Parallel()
	for in, ok := range map[string]bool{"henry": true, " ": true, "": false, "a\x00b": false, "\x00": false, "a\xff": false} {
		if got, err := ParseLogin([]byte(in)); (err == nil) != ok || ok && got != in {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

func TestMechanismsNeedTLS(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]*tls.ConnectionState{
		"no TLS":              nil,
		"TLS 1.1":             {Version: tls.VersionTLS11, HandshakeComplete: true},
		"handshake under way": {Version: tls.VersionTLS13},
	} {
		if got := Mechanisms(state); got != nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := Mechanisms(&tls.ConnectionState{Version: tls.VersionTLS12, HandshakeComplete: true}); !slices.Equal(got, []string{Scram, Plain, Login}) {
		t.Errorf("TLS 1.2: %v", got)
	}
}

var tls12 = &tls.ConnectionState{Version: tls.VersionTLS12, HandshakeComplete: true}

// keysOf returns the keys of passwords under one salt.
func keysOf(t testing.TB, passwords ...string) Keys {
	k := Keys{Salt: []byte("0123456789abcdef"), Iterations: 4096}
	for _, p := range passwords {
		c, err := scram.SHA256.NewClientUnprepped("", p, "")
		if err != nil {
			t.Fatal(err)
		}
		s, err := c.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(k.Salt), Iters: k.Iterations})
		if err != nil {
			t.Fatal(err)
		}
		k.Stored, k.Server = append(k.Stored, s.StoredKey), append(k.Server, s.ServerKey)
	}
	return k
}

func TestConversationTriesEveryKey(t *testing.T) {
	t.Parallel()
	keys := keysOf(t, "first", "second", "third")
	for password, want := range map[string]int{"first": 0, "second": 1, "third": 2, "fourth": -1} {
		client, err := scram.SHA256.NewClient("henry", password, "other")
		if err != nil {
			t.Fatal(err)
		}
		conv := client.NewConversation()
		first, _ := conv.Step("")
		s, err := NewConversation(Scram, tls12, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		asked := 0
		answer, err := s.First([]byte(first), func(login, authzid string) (Keys, error) {
			if asked++; login != "henry" || authzid != "other" {
				t.Errorf("asked for %q as %q", login, authzid)
			}
			return keys, nil
		})
		if err != nil || asked != 1 {
			t.Fatalf("%v, asked %d times", err, asked)
		}
		proof, err := conv.Step(string(answer))
		if err != nil {
			t.Fatal(err)
		}
		answer, which, err := s.Final([]byte(proof))
		if which != want || (err == nil) != (want >= 0) {
			t.Errorf("%s: key %d, %v", password, which, err)
		}
		if want < 0 {
			if !errors.Is(err, ErrProof) || answer != nil {
				t.Errorf("%s: %q, %v", password, answer, err)
			}
			continue
		}
		if _, err := conv.Step(string(answer)); err != nil || !conv.Valid() {
			t.Errorf("%s: the client does not believe us: %v", password, err)
		}
	}
}

func TestConversationErrors(t *testing.T) {
	t.Parallel()
	mine := errors.New("mine")
	ask := func(message string, f func(string, string) (Keys, error)) error {
		s, err := NewConversation(Scram, tls12, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.First([]byte(message), f)
		return err
	}
	find := func(string, string) (Keys, error) { return keysOf(t, "x"), nil }
	if err := ask("n,,n=henry,r=abc", func(string, string) (Keys, error) { return Keys{}, mine }); err != mine {
		t.Errorf("an error of the look-up: %v", err)
	}
	if err := ask("n,,n=henry,r=abc", find); err != nil {
		t.Errorf("a good message: %v", err)
	}
	for _, m := range []string{
		"", ",", "n", "n,,", "n,,n=henry", "n,,r=abc", "n,x,n=henry,r=abc", "n,,m=x,n=henry,r=abc", "q,,n=henry,r=abc",
		"n,,n=a=b,r=abc", "n,a=x=,n=henry,r=abc", "n,,n=a\x00b,r=abc", "n,,n=henry,r=ab\nc", "n,,n=a\xff,r=abc",
		"p=made-up,,n=henry,r=abc",
	} {
		if err := ask(m, find); !errors.Is(err, ErrMessage) {
			t.Errorf("%q: %v", m, err)
		}
	}
	// The client says that it could bind but was not offered it. Here it
	// was not: nothing was stripped.
	if err := ask("y,,n=henry,r=abc", find); err != nil {
		t.Errorf("y where PLUS is not offered: %v", err)
	}
	if err := ask("p=tls-exporter,,n=henry,r=abc", find); !errors.Is(err, ErrBinding) {
		t.Errorf("p where PLUS is not offered: %v", err)
	}
	if _, err := NewConversation(ScramPlus, tls12, rand.Reader); err == nil {
		t.Error("PLUS over TLS 1.2")
	}
	if _, err := NewConversation(Scram, tls12, strings.NewReader("few")); err == nil {
		t.Error("began without randomness")
	}
	for _, m := range []string{"", "c=biws", "c=biws,r=wrong,p=AAAA", "c=biws,r=x\x00,p=AAAA", "c=!,r=x,p=AAAA", "c=biws,r=x,p=!"} {
		s, _ := NewConversation(Scram, tls12, rand.Reader)
		if _, err := s.First([]byte("n,,n=henry,r=abc"), find); err != nil {
			t.Fatal(err)
		}
		if answer, which, err := s.Final([]byte(m)); err == nil || which != -1 || answer != nil {
			t.Errorf("%q: %q, %d, %v", m, answer, which, err)
		}
	}
}

func FuzzPlain(f *testing.F) {
	for _, s := range []string{"", "\x00a\x00b", "a\x00b\x00c", "\x00\x00\x00", "a\x00b\x00c\x00d", "\xff\x00\xff\x00\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		authzid, login, password, err := ParsePlain(in)
		if err == nil && (login == "" || password == "" || authzid+"\x00"+login+"\x00"+password != string(in)) {
			t.Errorf("%q became %q %q %q", in, authzid, login, password)
		}
		if s, err := ParseLogin(in); err == nil && (s == "" || strings.Contains(s, "\x00") || s != string(in)) {
			t.Errorf("%q became %q", in, s)
		}
	})
}

func FuzzScram(f *testing.F) {
	f.Add([]byte("n,,n=henry,r=abc"), []byte("c=biws,r=abc,p=AAAA"))
	f.Add([]byte("y,a=henry,n=h=2Cx,r=abc,x=y"), []byte("c=eSws,r=,p="))
	f.Add([]byte("p=tls-exporter,,n=henry,r=abc"), []byte(""))
	f.Add([]byte("n,,m=x,n=henry,r=abc"), []byte("e=other-error"))
	f.Add([]byte(",,,,,,,,"), []byte(",,,,,"))
	keys := keysOf(f, "first", "second")
	f.Fuzz(func(t *testing.T, first, final []byte) {
		s, err := NewConversation(Scram, tls12, bytes.NewReader(make([]byte, nonceSize)))
		if err != nil {
			t.Fatal(err)
		}
		asked := 0
		answer, err := s.First(first, func(login, _ string) (Keys, error) { asked++; return keys, nil })
		if (err == nil) != (asked == 1) || asked > 1 {
			t.Fatalf("%q: %v, asked %d times", first, err, asked)
		}
		if err != nil {
			return
		}
		if !strings.Contains(string(answer), fmt.Sprintf(",i=%d", keys.Iterations)) || bytes.ContainsAny(answer, "\r\n\x00") {
			t.Errorf("answer %q", answer)
		}
		if _, which, err := s.Final(final); err == nil || which >= 0 {
			t.Errorf("%q proved key %d", final, which)
		}
	})
}
