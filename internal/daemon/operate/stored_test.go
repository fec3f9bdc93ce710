package operate

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatepost/internal/addr"
	"gatepost/internal/audit"
	"gatepost/internal/backup"
	"gatepost/internal/blob"
	"gatepost/internal/clock"
	"gatepost/internal/config"
	"gatepost/internal/control"
	"gatepost/internal/daemon"
	"gatepost/internal/daemon/datadir"
	"gatepost/internal/daemon/settings"
	"gatepost/internal/envelope"
	"gatepost/internal/keys"
	"gatepost/internal/spool"
	"gatepost/internal/store"
)

// deep returns what the deep part of a check finds wrong, with or without a
// running server, and its progress.
func deep(t *testing.T, cfg *config.Config) (list []string) {
	t.Helper()
	found := func(f audit.Finding) {
		if f.Level != audit.OK {
			list = append(list, f.Text)
		}
	}
	op, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if !op.Running() {
		if err := op.Close(); err != nil {
			t.Fatal(err)
		}
		k, err := keys.Look(datadir.Keys(cfg.DataDir()), settings.Keys(cfg, clock.System, slog.New(slog.DiscardHandler)))
		if err != nil {
			t.Fatal(err)
		}
		db, err := store.Look(t.Context(), datadir.Store(cfg.DataDir()))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		var done, total int64
		if err := look(t.Context(), cfg, db, k, func(d, of int64) { done, total = d, of }, found); err != nil {
			t.Fatal(err)
		}
		if done != total || total == 0 {
			t.Errorf("read %d octets of %d", done, total)
		}
		return list
	}
	seen := 0
	err = op.Do(t.Context(), "check.deep", control.None{}, func(it control.Item) error {
		var c control.Checked
		if err := json.Unmarshal(it.JSON, &c); err != nil {
			return err
		}
		if c.Finding != nil {
			seen++
			found(*c.Finding)
		}
		return nil
	})
	if err != nil || seen < 6 {
		t.Errorf("%d findings, %v", seen, err)
	}
	return list
}

// enqueue puts a message into the queue of a server that does not run.
func enqueue(t *testing.T, cfg *config.Config, to string) {
	t.Helper()
	o := settings.Spool(cfg)
	blobs, err := blob.OpenDir(datadir.Blobs(cfg.DataDir()))
	if err != nil {
		t.Fatal(err)
	}
	o.FS, o.Blobs, o.Clock, o.Random, o.Log = blob.OS, blobs, clock.System, rand.Reader, slog.New(slog.DiscardHandler)
	sp, _, err := spool.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	d := sp.Create()
	_, err = io.WriteString(d, "Subject: x\r\n\r\nhello\r\n")
	if err == nil {
		err = d.Commit(&envelope.Envelope{Recipients: []envelope.Recipient{{To: addr.MustParse(to)}}})
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := sp.Close(); err != nil {
		t.Fatal(err)
	}
}

// saved makes a backup.
func saved(t *testing.T, cfg *config.Config) ([]byte, *backup.Manifest) {
	t.Helper()
	var b bytes.Buffer
	told := false
	m, err := Backup(t.Context(), cfg, &b, func(done, total int64) { told = told || done > 0 && total > 0 })
	if err != nil {
		t.Fatal(err)
	}
	if !told {
		t.Error("nobody was told how far it has come")
	}
	return b.Bytes(), m
}

// A backup is the same with and without a running server, and becomes an
// installation whose configuration leads to what came along.
func TestBackupRestoreCheck(t *testing.T) {
	t.Parallel()
	cfg := installed(t, closedDoors+`[[route]]
domain = "*"
via = "127.0.0.1:1"
tls = "verify"
user = "u"
password_file = "secret/pass word" # ours
`)
	dir := filepath.Dir(cfg.File())
	if err := os.Mkdir(filepath.Join(dir, "secret"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "secret", "pass word"), []byte("sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	enqueue(t, cfg, "x@[IPv6:::1]")
	alone, m := saved(t, cfg)
	if m.Queued != 1 || m.Damaged != 0 {
		t.Errorf("alone: %+v", m)
	}
	if list := deep(t, cfg); len(list) > 0 {
		t.Errorf("alone: %q", list)
	}
	s, err := daemon.Start(t.Context(), cfg, daemon.Options{Log: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	served, m := saved(t, cfg)
	if m.Queued != 1 || m.Damaged != 0 {
		t.Errorf("served: %+v", m)
	}
	if list := deep(t, cfg); len(list) > 0 {
		t.Errorf("served: %q", list)
	}
	if err := s.Drain(); err != nil {
		t.Error(err)
	}
	for name, b := range map[string][]byte{"alone": alone, "served": served} {
		to := filepath.Join(t.TempDir(), "new")
		r, err := Restore(t.Context(), bytes.NewReader(b), to, func(int64, int64) {})
		if err != nil {
			t.Fatal(err)
		}
		if r.Accounts != 1 || r.Domains != 1 || r.Queued != 1 {
			t.Errorf("%s: %+v", name, r)
		}
		moved, err := config.Read(filepath.Join(to, "gatepost.toml"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(moved.Text()), `password_file = "files/0-pass_word" # ours`) || moved.DataDir() != to {
			t.Errorf("%s:\n%s", name, moved.Text())
		}
		if word, err := settings.ReadPassword(moved.Path(moved.Route[0].PasswordFile)); err != nil || word != "sesame" {
			t.Errorf("%s: %q, %v", name, word, err)
		}
		if list := deep(t, moved); len(list) > 0 {
			t.Errorf("%s: %q", name, list)
		}
		held := ask(t, moved, "queue.list", control.QueueList{Held: true})
		if len(held) != 1 || !strings.Contains(held[0], `"held":true`) {
			t.Errorf("%s: %q", name, held)
		}
		if got := ask(t, moved, "account.list", control.None{}); len(got) != 1 || !strings.Contains(got[0], "anna@example.org") {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func ask(t *testing.T, cfg *config.Config, verb string, args any) (items []string) {
	t.Helper()
	op, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer op.Close()
	err = op.Do(t.Context(), verb, args, func(it control.Item) error {
		items = append(items, string(it.JSON))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return items
}

// fingerprint is what a directory holds.
func fingerprint(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			fmt.Fprintln(&b, path, err)
			return err
		}
		content, err := os.ReadFile(path)
		fmt.Fprintf(&b, "%s %x\n", path, sha256.Sum256(content))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A deep check without a server changes nothing at all, also after a crash,
// and tells what is damaged.
func TestDeepCheckChangesNothing(t *testing.T) {
	t.Parallel()
	cfg := installed(t, closedDoors)
	enqueue(t, cfg, "x@remote.example")
	data := cfg.DataDir()
	// What a crash leaves: a segment that is not used, a file that was being
	// written, one that nobody owns.
	for _, name := range []string{"spool/00000000000000ff.new", "blobs/tmp/1", "blobs/11/m-orphan"} {
		path := filepath.Join(data, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check := func() []string {
		t.Helper()
		before := fingerprint(t, data)
		var list []string
		k, err := keys.Look(datadir.Keys(cfg.DataDir()), settings.Keys(cfg, clock.System, slog.New(slog.DiscardHandler)))
		if err != nil {
			t.Fatal(err)
		}
		db, err := store.Look(t.Context(), filepath.Join(data, "store.db"))
		if err != nil {
			t.Fatal(err)
		}
		err = look(t.Context(), cfg, db, k, func(int64, int64) {}, func(f audit.Finding) {
			if f.Level != audit.OK {
				list = append(list, f.Text)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if after := fingerprint(t, data); after != before {
			t.Errorf("something has changed:\n%s\nbefore:\n%s", after, before)
		}
		return list
	}
	if list := check(); len(list) != 1 || !strings.Contains(list[0], "m-orphan") {
		t.Errorf("%q", list)
	}
	segments, err := filepath.Glob(filepath.Join(data, "spool", "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range segments {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(b, []byte("hello")); i >= 0 {
			b[i] ^= 1
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	list := check()
	if !slices.ContainsFunc(list, func(s string) bool { return strings.Contains(s, "is damaged on the disk") }) {
		t.Errorf("%q", list)
	}
}

// A configuration that is just being edited does not keep the backup from
// being made, with the one that is in force.
func TestBackupOfAnEditedConfiguration(t *testing.T) {
	t.Parallel()
	cfg := installed(t, closedDoors)
	if err := os.WriteFile(cfg.File(), []byte("hostname = "), 0o600); err != nil {
		t.Fatal(err)
	}
	b, m := saved(t, cfg)
	if m.Damaged != 1 || !strings.Contains(m.Damage[0], "the one that the server works with") {
		t.Errorf("%+v", m)
	}
	to := filepath.Join(t.TempDir(), "new")
	if _, err := Restore(t.Context(), bytes.NewReader(b), to, func(int64, int64) {}); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(to, "gatepost.toml")); err != nil || string(text) != closedDoors {
		t.Errorf("%s, %v", text, err)
	}
}

// What a hostile backup says of its configuration leads nowhere else.
func TestRelocateRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text  string
		files []backup.Named
	}{
		"no configuration":    {"hostname = ", nil},
		"an unknown setting":  {closedDoors, []backup.Named{{Setting: "hostname", Member: "files/x"}}},
		"a file that is none": {closedDoors, []backup.Named{{Setting: "tls.key", Member: "files/x"}}},
	} {
		if text, _, err := relocate("/new", []byte(c.text), c.files); err == nil {
			t.Errorf("%s: %s", name, text)
		}
	}
	text, _, err := relocate("/new", []byte("data = \"/etc\"\n"+closedDoors), nil)
	if err != nil || !strings.HasPrefix(string(text), "data = \".\"\n") {
		t.Errorf("%s, %v", text, err)
	}
}
