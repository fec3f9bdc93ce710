package keys

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatepost/internal/clock"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func testOptions() Options {
	return Options{Clock: clock.NewFake(start), Random: rand.Reader, Log: slog.New(slog.DiscardHandler)}
}

// newDir returns a path where Open makes the directory.
func newDir(tb testing.TB) string { return filepath.Join(tb.TempDir(), "keys") }

func mustOpen(tb testing.TB, dir string, o Options) *Keys {
	tb.Helper()
	k, err := Open(dir, o)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func TestSecretIsMadeOnceAndKept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "keys")
	a := mustOpen(t, dir, testOptions())
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "secret"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	sealed := a.Seal("p", []byte("plain"), nil)
	b := mustOpen(t, dir, testOptions())
	if got, err := b.Unseal("p", sealed, nil); err != nil || string(got) != "plain" {
		t.Errorf("opened again: %q, %v", got, err)
	}
	other := mustOpen(t, newDir(t), testOptions())
	if _, err := other.Unseal("p", sealed, nil); !errors.Is(err, ErrSealed) {
		t.Errorf("another secret: %v", err)
	}
	if list, _ := os.ReadDir(dir); len(list) != 1 {
		t.Errorf("left behind: %v", list)
	}
}

// A damaged secret is not replaced: what was sealed would be lost for good.
func TestDamagedSecretIsRefused(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"", "short", strings.Repeat("x", 33)} {
		path := filepath.Join(dir, "secret")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, testOptions()); err == nil || !strings.Contains(err.Error(), "backup") {
			t.Errorf("%d octets: %v", len(content), err)
		}
		if now, _ := os.ReadFile(path); string(now) != content {
			t.Errorf("the file was changed")
		}
	}
}

func TestRandomFailureMakesNoSecret(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.Random = io.LimitReader(rand.Reader, 10)
	dir := newDir(t)
	if _, err := Open(dir, o); err == nil {
		t.Error("opened without randomness")
	}
	if _, err := os.Stat(filepath.Join(dir, "secret")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a secret was kept: %v", err)
	}
}

func TestSeal(t *testing.T) {
	t.Parallel()
	k := mustOpen(t, newDir(t), testOptions())
	plain, context := []byte("something"), []byte("row 1")
	sealed := k.Seal("p", plain, context)
	if bytes.Contains(sealed, plain) || bytes.Equal(sealed, k.Seal("p", plain, context)) {
		t.Error("sealed is readable or repeats")
	}
	if got, err := k.Unseal("p", sealed, context); err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("%q, %v", got, err)
	}
	flipped := slices.Clone(sealed)
	flipped[len(flipped)-1] ^= 1
	cases := map[string]func() ([]byte, error){
		"another purpose": func() ([]byte, error) { return k.Unseal("q", sealed, context) },
		"another context": func() ([]byte, error) { return k.Unseal("p", sealed, []byte("row 2")) },
		"changed":         func() ([]byte, error) { return k.Unseal("p", flipped, context) },
		"cut":             func() ([]byte, error) { return k.Unseal("p", sealed[:20], context) },
		"empty":           func() ([]byte, error) { return k.Unseal("p", nil, context) },
	}
	for name, f := range cases {
		if got, err := f(); !errors.Is(err, ErrSealed) || got != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestMAC(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	k := mustOpen(t, dir, testOptions())
	m := k.MAC("p", []byte("ab"), []byte("c"))
	if m != mustOpen(t, dir, testOptions()).MAC("p", []byte("ab"), []byte("c")) {
		t.Error("not the same after opening again")
	}
	for name, other := range map[string][32]byte{
		"other parts":   k.MAC("p", []byte("a"), []byte("bc")),
		"one part":      k.MAC("p", []byte("abc")),
		"other purpose": k.MAC("q", []byte("ab"), []byte("c")),
	} {
		if other == m {
			t.Errorf("%s: the same MAC", name)
		}
	}
}

func selfSigned() Options {
	o := testOptions()
	o.SelfSigned = true
	o.Names = []string{"mx.example.org", "192.0.2.1"}
	return o
}

func TestSelfSigned(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	k := mustOpen(t, dir, selfSigned())
	c := k.Certificate()
	for _, name := range []string{"mx.example.org", "192.0.2.1", "localhost", "127.0.0.1", "::1"} {
		if err := c.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if _, ok := c.PublicKey.(*ecdsa.PublicKey); !ok {
		t.Errorf("key is a %T", c.PublicKey)
	}
	if d := c.NotAfter.Sub(c.NotBefore); d > 398*24*time.Hour || !start.After(c.NotBefore) {
		t.Errorf("valid from %v for %v", c.NotBefore, d)
	}
	if info, err := os.Stat(filepath.Join(dir, selfSignedFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if w := k.Warnings(); len(w) != 0 {
		t.Errorf("warnings: %q", w)
	}
	if again := mustOpen(t, dir, selfSigned()).Certificate(); !again.Equal(c) {
		t.Error("made anew without need")
	}
	o := selfSigned()
	o.Names = append(o.Names, "mail.example.org")
	if again := mustOpen(t, dir, o).Certificate(); again.Equal(c) || again.VerifyHostname("mail.example.org") != nil {
		t.Error("a new name did not make a new certificate")
	}
	if err := os.WriteFile(filepath.Join(dir, selfSignedFile), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, selfSigned()); err == nil || !strings.Contains(err.Error(), "remove") {
		t.Errorf("garbage: %v", err)
	}
}

func TestSelfSignedIsRenewed(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	o := selfSigned()
	fake := o.Clock.(*clock.Fake)
	k := mustOpen(t, dir, o)
	first := k.Certificate()
	fake.Advance(validity - renewal - 2*time.Hour)
	serve := k.ServerTLS()
	if c, err := serve.GetCertificate(nil); err != nil || !c.Leaf.Equal(first) {
		t.Errorf("renewed too early, or %v", err)
	}
	fake.Advance(2 * time.Hour)
	c, err := serve.GetCertificate(nil)
	if err != nil || c.Leaf.Equal(first) || k.Certificate() != c.Leaf {
		t.Errorf("a running server did not renew: %v", err)
	}
	if again := mustOpen(t, dir, o).Certificate(); !again.Equal(c.Leaf) {
		t.Error("the renewed one was not kept")
	}
	fake.Advance(validity)
	if err := k.Reload(); err != nil || k.Certificate().Equal(c.Leaf) {
		t.Errorf("Reload did not renew: %v", err)
	}
}

// With a full disk a running server still renews, and does not try at every
// handshake.
func TestRenewalThatCannotBeKept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "keys")
	o := selfSigned()
	var log bytes.Buffer
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	k := mustOpen(t, dir, o)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	o.Clock.(*clock.Fake).Advance(validity)
	for range 3 {
		c, err := k.ServerTLS().GetCertificate(nil)
		if err != nil || o.Clock.Now().After(c.Leaf.NotAfter) {
			t.Fatalf("%v", err)
		}
	}
	if n := strings.Count(log.String(), "could not be renewed"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, log.String())
	}
}

// files makes a certificate and key as an operator would have them.
func files(t *testing.T, name string) (certificate, key string) {
	t.Helper()
	dir := newDir(t)
	o := testOptions()
	o.SelfSigned, o.Names = true, []string{name}
	mustOpen(t, dir, o)
	both, err := os.ReadFile(filepath.Join(dir, selfSignedFile))
	if err != nil {
		t.Fatal(err)
	}
	first, rest := pem.Decode(both)
	certificate, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := errors.Join(os.WriteFile(certificate, rest, 0o644), os.WriteFile(key, pem.EncodeToMemory(first), 0o600)); err != nil {
		t.Fatal(err)
	}
	return certificate, key
}

func TestOwnFilesAndReload(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.Certificate, o.Key = files(t, "one.example")
	o.SelfSigned = true // files come before it
	k := mustOpen(t, newDir(t), o)
	serve := k.ServerTLS()
	if err := k.Certificate().VerifyHostname("one.example"); err != nil {
		t.Fatal(err)
	}
	other, otherKey := files(t, "two.example")
	copyFile := func(from, to string) {
		t.Helper()
		b, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	copyFile(other, o.Certificate) // not yet its key
	if err := k.Reload(); err == nil || !strings.Contains(err.Error(), o.Certificate) {
		t.Errorf("a certificate without its key: %v", err)
	}
	if c, err := serve.GetCertificate(nil); err != nil || c.Leaf.VerifyHostname("one.example") != nil {
		t.Errorf("the old one did not stay: %v", err)
	}
	copyFile(otherKey, o.Key)
	if err := k.Reload(); err != nil {
		t.Fatal(err)
	}
	if c, err := serve.GetCertificate(nil); err != nil || c.Leaf.VerifyHostname("two.example") != nil {
		t.Errorf("the new one is not served: %v", err)
	}
}

func TestConfigurationErrors(t *testing.T) {
	t.Parallel()
	cert, key := files(t, "x.example")
	for name, change := range map[string]func(*Options){
		"no key":         func(o *Options) { o.Certificate = cert },
		"no certificate": func(o *Options) { o.Key = key },
		"missing file":   func(o *Options) { o.Certificate, o.Key = cert+"x", key },
		"swapped":        func(o *Options) { o.Certificate, o.Key = key, cert },
	} {
		o := testOptions()
		change(&o)
		if _, err := Open(newDir(t), o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	k := mustOpen(t, newDir(t), testOptions())
	if k.ServerTLS() != nil || k.Certificate() != nil {
		t.Error("a certificate out of nothing")
	}
	if w := k.Warnings(); len(w) != 1 || !strings.Contains(w[0], "no certificate") {
		t.Errorf("warnings: %q", w)
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	o := testOptions()
	o.Certificate, o.Key = files(t, "x.example")
	k := mustOpen(t, dir, o)
	if w := k.Warnings(); len(w) != 0 {
		t.Errorf("without reason: %q", w)
	}
	if err := errors.Join(os.Chmod(o.Key, 0o644), os.Chmod(filepath.Join(dir, "secret"), 0o640), os.Chmod(dir, 0o711)); err != nil {
		t.Fatal(err)
	}
	o.Clock.(*clock.Fake).Advance(validity)
	if err := k.Reload(); err != nil {
		t.Fatal(err)
	}
	w := strings.Join(k.Warnings(), "\n")
	for _, want := range []string{o.Key + " can be read", "secret can be read", dir + " can be read", "expired on 2027"} {
		if !strings.Contains(w, want) {
			t.Errorf("no warning of %q in:\n%s", want, w)
		}
	}
}

// handshake connects a client to the server's configuration and returns what
// each of them says.
func handshake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	done := make(chan error, 1)
	srv := tls.Server(a, server)
	go func() { done <- srv.Handshake() }()
	c := tls.Client(b, client)
	err := c.Handshake()
	if err != nil {
		b.Close()
	}
	<-done
	return c.ConnectionState(), err
}

func TestServerTLS(t *testing.T) {
	t.Parallel()
	o := selfSigned()
	o.Clock = clock.System
	k := mustOpen(t, newDir(t), o)
	roots := x509.NewCertPool()
	roots.AddCert(k.Certificate())
	client := func(change func(*tls.Config)) *tls.Config {
		c := &tls.Config{RootCAs: roots, ServerName: "mx.example.org", MinVersion: tls.VersionTLS10}
		change(c)
		return c
	}
	state, err := handshake(t, k.ServerTLS(), client(func(*tls.Config) {}))
	if err != nil || state.Version != tls.VersionTLS13 || state.CurveID != tls.X25519MLKEM768 {
		t.Errorf("default: %v, %x, %v", err, state.Version, state.CurveID)
	}
	state, err = handshake(t, k.ServerTLS(), client(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }))
	if err != nil || !slices.Contains(suites, state.CipherSuite) {
		t.Errorf("TLS 1.2: %v, %s", err, tls.CipherSuiteName(state.CipherSuite))
	}
	if _, err := handshake(t, k.ServerTLS(), client(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS11 })); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
	if v := k.ServerTLS().MinVersion; v != tls.VersionTLS12 { // not only for want of a suite
		t.Errorf("minimum %x", v)
	}
	weak := []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_128_GCM_SHA256}
	_, err = handshake(t, k.ServerTLS(), client(func(c *tls.Config) { c.MaxVersion, c.CipherSuites = tls.VersionTLS12, weak }))
	if err == nil {
		t.Error("a suite without AEAD or ECDHE was accepted")
	}
}
