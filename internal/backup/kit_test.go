package backup

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatepost/internal/account"
	"gatepost/internal/addr"
	"gatepost/internal/audit"
	"gatepost/internal/blob"
	"gatepost/internal/clock"
	"gatepost/internal/dkim"
	"gatepost/internal/envelope"
	"gatepost/internal/inspect"
	"gatepost/internal/keys"
	"gatepost/internal/local"
	"gatepost/internal/mailbox"
	"gatepost/internal/moment"
	"gatepost/internal/queue"
	"gatepost/internal/spool"
	"gatepost/internal/store"
)

// The accounts of a server: the mail of the last comes and goes.
const (
	people   = 3
	volatile = people + 1
)

const configText = "hostname = \"mx.example.org\"\n"

// hasty is a clock on which what is put off happens soon: so that what the
// mailboxes remember is forgotten while a backup is made.
type hasty struct{ clock.Clock }

func (h hasty) AfterFunc(d time.Duration, f func()) clock.Timer {
	return h.Clock.AfterFunc(d/2000, f)
}

// quick is the operating system's file system without its syncs: what survives
// a power loss is not what is tested on it, and they take most of the time.
type quick struct{ blob.FS }

func (q quick) SyncDir(string) error { return nil }

func (q quick) Create(name string) (blob.Handle, error) {
	h, err := q.FS.Create(name)
	return quickHandle{h}, err
}

func (q quick) Open(name string) (blob.Handle, error) {
	h, err := q.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return quickHandle{h}, nil
}

type quickHandle struct{ blob.Handle }

func (quickHandle) Sync() error           { return nil }
func (quickHandle) Push(_, _ int64) error { return nil }

// server is all that a message passes, without the doors.
type server struct {
	t     testing.TB
	dir   string
	db    *store.DB
	blobs *blob.Dir
	keys  *keys.Keys
	boxes *mailbox.Boxes
	local *local.Local
	spool *spool.Spool
	found []string // by the spool at its start
	queue *queue.Queue
	sink  *sink
}

// Find knows the accounts: user1@example.org and so on.
func (s *server) Find(_ context.Context, to addr.Address) (account.Account, error) {
	var id int64
	if n, err := fmt.Sscanf(to.Local, "user%d", &id); n != 1 || err != nil || id < 1 || id > volatile {
		return account.Account{}, account.ErrUnknown
	}
	return account.Account{ID: id}, nil
}

// Route keeps example.org here.
func (s *server) Route(to addr.Domain) (string, bool) { return string(to), to == "example.org" }

// sink is the other server: it takes everything.
type sink struct {
	mu  sync.Mutex
	got map[string]int // by the recipients' local parts
}

func (k *sink) Deliver(_ context.Context, a *envelope.Attempt) []envelope.Outcome {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := make([]envelope.Outcome, len(a.Recipients))
	for i, r := range a.Recipients {
		k.got[a.Envelope.Recipients[r].To.Local]++
		list[i].Status = envelope.Delivered
	}
	return list
}

func (k *sink) took(name string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.got[name]
}

func spoolSizes() spool.Options {
	return spool.Options{SegmentSize: 1 << 20, Inline: 64 << 10, DraftBudget: 16 << 20, FreshBudget: 1 << 20}
}

type queueSpool struct{ *spool.Spool }

func (s queueSpool) Create() queue.Draft { return s.Spool.Create() }

// install makes a server in a new directory.
func install(t testing.TB) *server {
	t.Helper()
	s := openServer(t, t.TempDir())
	err := s.db.Update(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.Exec(`INSERT INTO domain (name, created) VALUES ('example.org', 0)`); err != nil {
			return err
		}
		for id := range int64(volatile) {
			_, err := tx.Exec(`INSERT INTO account
				(id, domain, local, role, quota, send_limit, frozen, created, scram_salt, scram_iterations)
				VALUES (?, 'example.org', ?, 'user', 0, 0, 0, 0, ?, 0)`, id+1, fmt.Sprint("user", id+1), []byte{})
			if err != nil {
				return err
			}
		}
		_, err := tx.Exec(`INSERT INTO sequence (name, next) VALUES ('account', 100)`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// openServer opens what is in a directory, and attempts nothing yet.
func openServer(t testing.TB, dir string) *server {
	t.Helper()
	s := &server{t: t, dir: dir, sink: &sink{got: map[string]int{}}}
	quiet := slog.New(slog.DiscardHandler)
	c := hasty{clock.System}
	var err error
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s.db, err = store.Open(t.Context(), store.Options{Path: filepath.Join(dir, "store.db"), Log: quiet})
	must(err)
	s.keys, err = keys.Open(filepath.Join(dir, "keys"), keys.Options{Clock: c, Random: rand.Reader, Log: quiet})
	must(err)
	s.blobs, err = blob.OpenDirOn(quick{blob.OS}, filepath.Join(dir, "blobs"))
	must(err)
	s.boxes = mailbox.New(s.db, s.blobs, c, rand.Reader)
	s.local = local.New(local.Options{Directory: s, Boxes: s.boxes, Clock: c, Log: quiet})
	o := spoolSizes()
	o.Dir, o.FS, o.Blobs, o.Clock, o.Random, o.Log = filepath.Join(dir, "spool"), quick{blob.OS}, s.blobs, c, rand.Reader, quiet
	var report *spool.Report
	s.spool, report, err = spool.Open(o)
	must(err)
	s.found = report.Findings
	must(s.boxes.Prune(t.Context(), s.spool.Live))
	s.queue = queue.New(queue.Options{
		Spool: queueSpool{s.spool}, Router: s, Local: s.local, Remote: s.sink,
		Expand: func(_ context.Context, to addr.Address) ([]addr.Address, error) { return []addr.Address{to}, nil },
		Begin:  func([]byte) (*dkim.Signer, error) { return nil, nil },
		Clock:  clock.System, Log: quiet, Random: rand.Reader,
		Hostname: "mx.example.org", Postmaster: addr.MustParse("user1@example.org"),
		Lifetime: time.Hour, DelayNotice: time.Hour, KeptFor: time.Hour,
		RemoteWorkers: 4, LocalWorkers: 4, PerDestination: 4,
	})
	s.spool.Serve(s.queue.Offer)
	return s
}

func (s *server) close() {
	s.t.Helper()
	s.queue.Stop(context.Background())
	s.local.Close()
	if err := errors.Join(s.spool.Close(), s.db.Close()); err != nil {
		s.t.Error(err)
	}
}

func (s *server) source() *Source {
	return &Source{
		Parts: moment.Parts{DB: s.db, Spool: s.spool, Blobs: s.blobs}, Keys: s.keys,
		Hostname: "mx.example.org", Clock: clock.System,
		Config: func() (*Config, error) { return &Config{Text: []byte(configText)}, nil },
	}
}

// save makes a backup.
func (s *server) save() ([]byte, *Manifest) {
	s.t.Helper()
	job, err := s.source().Begin(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	return s.finish(job)
}

func (s *server) finish(job *Job) ([]byte, *Manifest) {
	s.t.Helper()
	var b bytes.Buffer
	m, err := job.Write(context.Background(), &b)
	if err = errors.Join(err, job.Close()); err != nil {
		s.t.Fatal(err)
	}
	return b.Bytes(), m
}

// target is where restored is restored to.
func target(dir string) Target {
	return Target{
		Dir: dir, FS: quick{blob.OS}, Clock: clock.System, Random: rand.Reader, Log: slog.New(slog.DiscardHandler),
		Configure: func(text []byte, _ []Named) ([]byte, spool.Options, error) { return text, spoolSizes(), nil },
	}
}

// restored brings up a backup in a new directory.
func restored(t testing.TB, b []byte) (string, *Restored) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "restored")
	r, err := Restore(t.Context(), bytes.NewReader(b), target(dir), func(int64, int64) {})
	if err != nil {
		t.Fatal(err)
	}
	return dir, r
}

// findings reads all that a server stores.
func (s *server) findings() (list []string) {
	s.t.Helper()
	r := &inspect.Running{Parts: s.source().Parts, Boxes: s.boxes, Keys: s.keys, Told: s.found}
	err := r.Check(context.Background(), func(int64, int64) {}, func(f audit.Finding) {
		if f.Level != audit.OK {
			list = append(list, fmt.Sprintf("%s: %s", f.Level, f.Text))
		}
	})
	if err != nil {
		s.t.Error(err)
	}
	return list
}

// letter returns the content of a message, which follows from its token.
func letter(token string, size int) []byte {
	r := mathrand.New(mathrand.NewPCG(uint64(crc32.ChecksumIEEE([]byte(token))), 1))
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: user1@example.org\r\nSubject: %s\r\n\r\n", token)
	line := fmt.Sprintf("%016x%016x%016x%016x\r\n", r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64())
	b.WriteString(strings.Repeat(line, size/len(line)))
	fmt.Fprintf(&b, "The end of %s.\r\n", token)
	return b.Bytes()
}

// send commits a message as a session does.
func (s *server) send(token string, size int, to ...string) error {
	d := s.spool.Create()
	if _, err := d.Write(letter(token, size)); err != nil {
		d.Discard()
		return err
	}
	e := &envelope.Envelope{
		From: addr.MustParse("user1@example.org"), Origin: envelope.User, Account: "user1@example.org",
		Header: []byte("Received: from a by b\r\n"),
	}
	for _, a := range to {
		e.Recipients = append(e.Recipients, envelope.Recipient{To: addr.MustParse(a)})
	}
	return d.Commit(e)
}

// mail returns what is in the INBOX of an account, whole.
func (s *server) mail(id int64) (list []string) {
	s.t.Helper()
	for m, err := range s.boxes.Messages(s.t.Context(), id, mailbox.Inbox) {
		if err != nil {
			s.t.Fatal(err)
		}
		c, err := s.boxes.Open(s.t.Context(), id, m.ID)
		if err != nil {
			s.t.Fatal(err)
		}
		b, err := io.ReadAll(c)
		if err = errors.Join(err, c.Close()); err != nil {
			s.t.Fatal(err)
		}
		list = append(list, string(b))
	}
	return list
}

// settle lets the queue work until it is empty.
func (s *server) settle() {
	s.t.Helper()
	s.queue.Start()
	await(s.t, "the queue is not empty", func() bool { return len(s.queue.List(queue.Filter{})) == 0 })
}

func await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

// tree lists what is in a directory.
func tree(t testing.TB, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		list = append(list, strings.TrimPrefix(path, dir))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}
