package operate

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatepost/internal/audit"
	"gatepost/internal/config"
	"gatepost/internal/control"
	"gatepost/internal/hostkey"
)

// A record that nobody needs any more goes with the publishing of the others.
func TestChangesTakeOldRecordsAway(t *testing.T) {
	t.Parallel()
	rec := audit.Record{Kind: audit.KindTLSA, Name: "_25._tcp.mx.example.org", Type: "TLSA", Value: "3 1 1 " + strings.Repeat("ab", 32), Old: []string{"3 1 1 " + strings.Repeat("cd", 32)}}
	u, err := changes([]audit.Record{rec})
	if err != nil || len(u.Add) != 1 || len(u.Remove) != 1 || len(u.Clear) != 0 ||
		!strings.HasSuffix(u.Remove[0].String(), strings.Repeat("cd", 32)) || !strings.HasSuffix(u.Add[0].String(), strings.Repeat("ab", 32)) {
		t.Errorf("%+v, %v", u, err)
	}
}

// The keys of a server that does not run are told of without changing
// anything, and change on demand.
func TestHostKeysWithoutServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "gatepost.toml")
	text := "hostname = \"mx.example.org\"\n[dns]\nresolvers = [\"127.0.0.1:1\"]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := HostKeys(t.Context(), cfg)
	if err != nil || len(info.Keys) != 2 || info.Keys[0].State != hostkey.InUse || info.Keys[1].State != hostkey.Next || info.Keys[1].Due {
		t.Fatalf("%+v, %v", info, err)
	}
	if err := RollKey(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	again, err := HostKeys(t.Context(), cfg)
	if err != nil || !again.Keys[1].Due || !again.Keys[0].Record.Equal(info.Keys[0].Record) {
		t.Fatalf("%+v, %v", again, err)
	}
	list, err := Certificates(t.Context(), cfg)
	if err != nil || len(list) != 1 || list[0].From != "self-signed" || "3 1 1 "+list[0].Key != info.Keys[0].Record.String() {
		t.Errorf("%+v, %v", list, err)
	}
	// With a key of the operator's, only its record is printed, and how to
	// replace it.
	both, err := os.ReadFile(filepath.Join(dir, "keys", "self-signed.pem"))
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(dir, "own.pem")
	if err := os.WriteFile(own, both, 0o600); err != nil {
		t.Fatal(err)
	}
	if cfg, err = config.Parse(path, []byte(text+"[tls]\ncertificate = \"own.pem\"\nkey = \"own.pem\"\n")); err != nil {
		t.Fatal(err)
	}
	info, err = HostKeys(t.Context(), cfg)
	if err != nil || !info.Files || len(info.Keys) != 1 || !strings.Contains(whyHostKey(*info, info.Keys[0]), "before you replace it") {
		t.Errorf("%+v, %v", info, err)
	}
	// The file holds both, the key first; by either its record is the same.
	key, rest := pem.Decode(both)
	parsed, err := x509.ParsePKCS8PrivateKey(key.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(parsed.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"both": both, "certificate": rest, "sec1": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}), "none": []byte("none"),
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := RecordOf(file); (err == nil) != (name != "none") || err == nil && !r.Equal(info.Keys[0].Record) {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	if err := RollKey(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "file of yours") {
		t.Errorf("%v", err)
	}
	if list, err := Certificates(t.Context(), cfg); err != nil || len(list) != 1 || list[0].From != "file" {
		t.Errorf("%+v, %v", list, err)
	}
	if why := whyHostKey(control.HostInfo{}, control.HostKey{State: hostkey.Next}); why == "" {
		t.Error("no sentence")
	}
}
