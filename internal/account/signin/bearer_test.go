package signin

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"gatepost/internal/account/sasl"
	"gatepost/internal/activity"
	"gatepost/internal/envelope"
)

// tokens are tokens in a map.
type tokens struct {
	of   map[string]Token
	fail error
	gone bool // the grants have ended
}

func (t *tokens) Token(_ context.Context, s string) (Token, bool, error) {
	v, ok := t.of[s]
	return v, ok, t.fail
}

func (t *tokens) Holds(context.Context, int64) (bool, error) { return !t.gone, nil }

func (t *tokens) Metadata() string {
	return "https://mx.example.org/.well-known/oauth-authorization-server"
}

// show returns a client that shows a token as somebody.
func show(mechanism, login, token string) client {
	return func(challenge []byte) []byte {
		switch {
		case len(challenge) > 0 && mechanism == sasl.OAuthBearer: // it has failed
			return sasl.Dummy
		case len(challenge) > 0:
			return []byte{}
		case mechanism == sasl.XOAuth2:
			return []byte("user=" + login + "\x01auth=Bearer " + token + "\x01\x01")
		case login == "":
			return []byte("n,,\x01auth=Bearer " + token + "\x01\x01")
		}
		return []byte("n,a=" + login + ",\x01host=mx.example.org\x01port=465\x01auth=Bearer " + token + "\x01\x01")
	}
}

// bearerDesk is one with Henry and Anna, and tokens of Henry's.
func bearerDesk(t *testing.T) (*desk, *tokens) {
	t.Helper()
	k := &tokens{of: map[string]Token{}}
	d := newDesk(t, func(o *Options) { o.Tokens = k })
	henry := d.add(address, "")
	d.add("anna@example.org", "")
	soon := d.clock.Now().Add(time.Hour)
	good := Token{Account: henry.ID, Login: address, Credential: 7, Name: "Thunderbird", Send: true, Expires: soon}
	reader := good
	reader.Send, reader.Read = false, true
	stale := good
	stale.Expires = d.clock.Now()
	k.of["good"], k.of["reader"], k.of["stale"] = good, reader, stale
	return d, k
}

func TestTokens(t *testing.T) {
	t.Parallel()
	for _, mechanism := range []string{sasl.OAuthBearer, sasl.XOAuth2} {
		for _, initial := range []bool{true, false} {
			d, _ := bearerDesk(t)
			got, err := d.run(mechanism, show(mechanism, "HENRY@example.org", "good"), d.elsewhere(), initial)
			if got != address || err != nil {
				t.Errorf("%s: %q, %v", mechanism, got, err)
			}
			e := d.tried[len(d.tried)-1]
			if e.Outcome != activity.Done || e.Credential != "token Thunderbird" || e.Mechanism != mechanism || e.Account != address {
				t.Errorf("%s: told %+v", mechanism, e)
			}
			for name, refused := range map[string][2]string{
				"of another account": {"anna@example.org", "good"}, "of nobody": {"nobody@example.org", "good"},
				"to read with": {address, "reader"}, "run out": {address, "stale"}, "wrong": {address, "bad"}, "a password": {address, "hunter2"},
			} {
				x, err := d.Start(mechanism, d.elsewhere())
				if err != nil {
					t.Fatal(err)
				}
				// The same challenge, whatever is wrong.
				challenge, done, err := x.Next(context.Background(), show(mechanism, refused[0], refused[1])(nil))
				if done || err != nil || string(challenge) != string(sasl.BearerFailure(mechanism, "mail.send", d.o.Tokens.Metadata())) {
					t.Errorf("%s, %s: %s, %v, %v", mechanism, name, challenge, done, err)
				}
				if _, done, err := x.Next(context.Background(), show(mechanism, "", "")(challenge)); done || !isRefused(err) || x.Account() != "" {
					t.Errorf("%s, %s: %v, %v", mechanism, name, done, err)
				}
			}
			if _, err := d.run(mechanism, func([]byte) []byte { return []byte("nonsense") }, d.elsewhere(), true); !isRefused(err) {
				t.Errorf("%s: nonsense: %v", mechanism, err)
			}
		}
	}
}

// The token alone says whose it is, if the client does not.
func TestTokenWithoutLogin(t *testing.T) {
	t.Parallel()
	d, _ := bearerDesk(t)
	if got, err := d.run(sasl.OAuthBearer, show(sasl.OAuthBearer, "", "good"), d.elsewhere(), true); got != address || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := d.run(sasl.OAuthBearer, show(sasl.OAuthBearer, "", "bad"), d.elsewhere(), true); got != "" || !isRefused(err) {
		t.Errorf("%q, %v", got, err)
	}
}

// A session learns which grant opened it, when its token runs out, and whether
// the grant ended meanwhile.
func TestTokenHolds(t *testing.T) {
	t.Parallel()
	d, k := bearerDesk(t)
	x, err := d.Start(sasl.XOAuth2, d.elsewhere())
	if err != nil {
		t.Fatal(err)
	}
	if _, done, err := x.Next(context.Background(), show(sasl.XOAuth2, address, "good")(nil)); !done || err != nil {
		t.Fatal(done, err)
	}
	if id, until := x.Credential(); id != 7 || !until.Equal(k.of["good"].Expires) || !x.Holds(context.Background()) {
		t.Errorf("grant %d until %v", id, until)
	}
	k.gone = true
	if x.Holds(context.Background()) {
		t.Error("it holds after its end")
	}
}

// What holds for passwords holds for tokens.
func TestTokensOfFrozen(t *testing.T) {
	t.Parallel()
	d, k := bearerDesk(t)
	for _, p := range d.people {
		p.Frozen = true
	}
	if _, err := d.run(sasl.XOAuth2, show(sasl.XOAuth2, address, "good"), d.elsewhere(), true); !isRefused(err) {
		t.Errorf("frozen: %v", err)
	}
	k.fail = errors.New("no store")
	_, err := d.run(sasl.XOAuth2, show(sasl.XOAuth2, address, "good"), d.elsewhere(), true)
	var e *envelope.Error
	if !errors.As(err, &e) || e.Code != 454 {
		t.Errorf("without a store: %v", err)
	}
}

// Guessing is slowed; a token that has run out is no guess.
func TestTokensAreSlowed(t *testing.T) {
	t.Parallel()
	d, _ := bearerDesk(t)
	p := d.peer("192.0.2.1")
	for range 20 {
		if _, err := d.run(sasl.OAuthBearer, show(sasl.OAuthBearer, address, "stale"), p, true); !isRefused(err) {
			t.Fatal(err)
		}
	}
	for range 3 {
		if _, err := d.run(sasl.OAuthBearer, show(sasl.OAuthBearer, address, "bad"), p, true); !isRefused(err) {
			t.Fatal(err)
		}
	}
	done := make(chan error, 1)
	go func() {
		_, err := d.run(sasl.OAuthBearer, show(sasl.OAuthBearer, address, "good"), p, true)
		done <- err
	}()
	if err := <-waited(t, d, done); err != nil {
		t.Error(err)
	}
}

// They are offered only where there are tokens, and only within TLS; the log
// has none of them.
func TestTokensOffered(t *testing.T) {
	t.Parallel()
	d, _ := bearerDesk(t)
	if m := d.Mechanisms(d.tls[0]); !slices.Contains(m, sasl.OAuthBearer) || !slices.Contains(m, sasl.XOAuth2) {
		t.Errorf("offered: %v", m)
	}
	if m := d.Mechanisms(nil); m != nil {
		t.Errorf("in the clear: %v", m)
	}
	if _, err := newDesk(t).Start(sasl.OAuthBearer, d.elsewhere()); err == nil {
		t.Error("begun where there are no tokens")
	}
	for _, token := range []string{"good", "s3cret-token"} {
		d.run(sasl.OAuthBearer, show(sasl.OAuthBearer, address, token), d.elsewhere(), true)
	}
	if log := d.log.String(); strings.Contains(log, "s3cret") || !strings.Contains(log, "wrong token") {
		t.Errorf("log:\n%s", log)
	}
}
