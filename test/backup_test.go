package test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// A backup is made while 8 clients send, and the machine is lost. On another
// one it is restored and served. Nothing leaves before it is released; then
// every message that was acknowledged when the backup began is in each of its
// mailboxes, whole and once, and went to the other server; and none that came
// later is there more than once.
func TestBackup(t *testing.T) {
	t.Parallel()
	const clients = 8
	people := []string{"anna@backup.test", "ben@backup.test", "cleo@backup.test"}
	book := newBook()
	sink := newPeer(t, nil)
	sink.sink = func(d delivery) { book.arrived(sinkBox, d.data) }
	s := install(t, "backup.test", sink.route("sink.test")+"[remote]\nprivate = [\"127.0.0.0/8\"]\n[relay]\nnetworks = [\"127.0.0.0/8\"]\n")
	for _, box := range people[1:] {
		s.account(box)
	}
	s.serve()
	var sent atomic.Int64
	var group sync.WaitGroup
	for i := range clients {
		group.Go(func() { s.stream(book, rand.New(rand.NewPCG(uint64(i), 3)), fmt.Sprint("b", i), people, &sent) })
	}
	sends := func(n int64) {
		t.Helper()
		want := sent.Load() + n
		await(t, func() string {
			if got := sent.Load(); got < want {
				return fmt.Sprintf("%d of %d messages are acknowledged", got, want)
			}
			return ""
		})
	}
	sends(100)
	if list := s.deep(); len(list) > 0 {
		t.Errorf("a deep check under load finds %q", list)
	}
	before := book.known()
	dir := t.TempDir()
	var made struct {
		File    string `json:"file"`
		Queued  int    `json:"queued"`
		Damaged int    `json:"damaged"`
	}
	s.json(&made, "backup", dir)
	if made.Damaged > 0 || filepath.Dir(made.File) != dir {
		t.Errorf("%+v", made)
	}
	if info, err := os.Stat(made.File); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s: %v, %v", made.File, info.Mode(), err)
	}
	sends(50)
	validity := s.validity(people[0])
	s.kill()
	group.Wait()

	if out := run(t, "", binary, "backup", "--verify", made.File); !strings.Contains(out, "is whole") {
		t.Error(out)
	}
	n := s.restored(t, made.File)
	held := n.queue("--held")
	if len(held) != made.Queued || len(n.queue()) != len(held) {
		t.Errorf("%d messages are held, %d wait, and %d were queued", len(held), len(n.queue()), made.Queued)
	}
	if list := n.deep(); len(list) > 0 {
		t.Errorf("a deep check of what was restored finds %q", list)
	}
	n.serve()
	if now := n.queue("--held"); len(now) != len(held) {
		t.Errorf("%d of %d messages are still held", len(now), len(held))
	}
	if now := n.validity(people[0]); now <= validity {
		t.Errorf("UIDVALIDITY is %d and was %d", now, validity)
	}
	n.gatepost("queue", "release", "all")
	n.settles()
	for _, box := range people {
		n.exported(box, func(content string) { book.arrived(box, content) })
	}
	for _, fault := range book.restored(before) {
		t.Error(fault)
	}
	t.Logf("%d messages were acknowledged, %d of them before the backup, %d in its queue", sent.Load(), len(before), made.Queued)
	if list := n.deep(); len(list) > 0 {
		t.Errorf("a deep check in the end finds %q", list)
	}
}

// stream sends messages, one after the other, until the server is gone.
func (s *server) stream(book *book, random *rand.Rand, prefix string, boxes []string, sent *atomic.Int64) {
	c, _, err := connect(s.ip, "25")
	if err != nil {
		return
	}
	defer c.conn.Close()
	if _, err := c.tell("EHLO client.test"); err != nil {
		return
	}
	for i := 0; ; i++ {
		token := fmt.Sprintf("%s.%d", prefix, i)
		to := []string{boxes[random.IntN(len(boxes))]}
		if random.IntN(4) == 0 {
			to = append(to, sinkBox)
		}
		paths := make([]string, len(to))
		for k := range to {
			paths[k] = "<" + to[k] + ">"
		}
		book.sends(token, to)
		reply, err := c.transact("<x@remote.test>", paths, book.content(token))
		if err != nil || !strings.HasPrefix(reply, "250") {
			book.refused(reply)
			return
		}
		book.acknowledges(token)
		sent.Add(1)
	}
}

// known returns the tokens that are acknowledged by now.
func (b *book) known() map[string]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := map[string]bool{}
	for token, m := range b.sent {
		if m.acknowledged {
			list[token] = true
		}
	}
	return list
}

// restored tells what is not as it must be on a machine that was brought back
// from a backup.
func (b *book) restored(before map[string]bool) (faults []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	faults = b.faults
	for token, m := range b.sent {
		for _, box := range m.to {
			n := m.arrived[box]
			if before[token] && n == 0 || n > 1 && box != sinkBox {
				faults = append(faults, fmt.Sprintf("%s is in %s %d times; acknowledged before the backup: %v", token, box, n, before[token]))
			}
		}
	}
	return faults
}

// restored brings up a backup of the server in another directory, to be served
// at the same address.
func (s *server) restored(t *testing.T, file string, flags ...string) *server {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "restored")
	out := run(t, "", binary, append([]string{"restore", file, dir}, flags...)...)
	if !strings.Contains(out, "Next:") || !strings.Contains(out, "gatepost queue release all --config "+dir) {
		t.Errorf("restore said %s", out)
	}
	n := *s
	n.t, n.dir, n.config, n.log, n.cmd = t, dir, filepath.Join(dir, "gatepost.toml"), &transcript{}, nil
	return &n
}

// validity returns the UIDVALIDITY of an INBOX.
func (s *server) validity(account string) uint32 {
	s.t.Helper()
	var list []struct {
		Name     string `json:"name"`
		Validity uint32 `json:"uid_validity"`
	}
	s.json(&list, "mailbox", "list", account)
	for _, f := range list {
		if f.Name == "INBOX" {
			return f.Validity
		}
	}
	s.t.Errorf("%s has no INBOX: %+v", account, list)
	return 0
}

// deep returns what is wrong with all that is stored. The rest of a check
// depends on the world, and is not looked at.
func (s *server) deep() (list []string) {
	s.t.Helper()
	out, err := try("", binary, "check", "--deep", "--json", "--config", s.config)
	var found []struct{ Check, Level, Text string }
	if failed := json.Unmarshal([]byte(out), &found); failed != nil {
		s.t.Fatalf("check --deep: %v, %v\n%s", err, failed, out)
	}
	parts := 0
	for _, f := range found {
		switch f.Check {
		case "store", "account", "activity", "protection", "forward", "mailbox", "spool", "files":
			parts++
			if f.Level != "ok" {
				list = append(list, f.Text)
			}
		}
	}
	if parts < 8 {
		s.t.Errorf("check --deep looked at %d parts:\n%s", parts, out)
	}
	return list
}

// What was damaged on the disk is told by a deep check, with exit code 1, and
// by the backup. A backup that is damaged, cut short, or encrypted to others
// is refused, and leaves nothing.
func TestDamagedBackup(t *testing.T) {
	t.Parallel()
	s := start(t, "damage.test", "")
	s.world(t).mail("<x@remote.test>", []string{"<" + s.address() + ">"}, letter("x@remote.test", "large")+strings.Repeat(strings.Repeat("x", 98)+"\r\n", 5000))
	s.arrives(s.address(), "large")
	s.settles()
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole.tar.age")
	if out := run(t, "a phrase\n", binary, "backup", "--passphrase-stdin", whole, "--config", s.config); !strings.Contains(out, "Saved to "+whole) {
		t.Error(out)
	}
	if out, err := try("", binary, "backup", whole, "--config", s.config); err == nil || !strings.Contains(out, "exists already") {
		t.Errorf("written over: %v\n%s", err, out)
	}
	b, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "hostname") {
		t.Error("the encrypted backup can be read")
	}
	// 2^18 takes a second for each guess at the passphrase.
	if header, _, _ := strings.Cut(string(b), "\n---"); !strings.Contains(header, "-> scrypt ") || !strings.HasSuffix(strings.SplitN(header, "\n", 3)[1], " 18") {
		t.Errorf("the passphrase costs too little: %q", header)
	}
	cut := filepath.Join(dir, "cut")
	if err := os.WriteFile(cut, b[:len(b)-100], 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ file, phrase, want string }{
		{whole, "", "the backup is encrypted"},
		{whole, "another\n", "open it"},
		{cut, "a phrase\n", "cannot be used"},
		{s.config, "", "not a backup of Gatepost"},
	} {
		to := filepath.Join(dir, "restored")
		args := []string{"restore", c.file, to}
		if c.phrase != "" {
			args = append(args, "--passphrase-stdin")
		}
		out, err := try(c.phrase, binary, args...)
		if err == nil || !strings.Contains(out, c.want) {
			t.Errorf("%s with %q: %v\n%s", c.file, c.phrase, err, out)
		}
		if _, err := os.Stat(to); err == nil {
			t.Errorf("%s with %q: %s is left", c.file, c.phrase, to)
		}
	}
	out := run(t, "a phrase\n", binary, "restore", whole, filepath.Join(dir, "restored"), "--passphrase-stdin")
	if !strings.Contains(out, "1 message in mailboxes") {
		t.Error(out)
	}

	files, err := filepath.Glob(filepath.Join(s.dir, "blobs", "??", "m-*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	content, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	if err := os.WriteFile(files[0], content, 0o600); err != nil {
		t.Fatal(err)
	}
	want := "The content of message 1 in " + s.address() + ", INBOX does not match its checksum."
	if list := s.deep(); len(list) != 1 || list[0] != want {
		t.Errorf("a deep check finds %q", list)
	}
	if out, err := try("", binary, "check", "--deep", "--config", s.config); err == nil || !strings.Contains(out, want) || !strings.Contains(out, "Restore a backup") {
		t.Errorf("check --deep: %v\n%s", err, out)
	}
	damaged := filepath.Join(dir, "damaged.tar")
	if out, err := try("", binary, "backup", damaged, "--config", s.config); err == nil || !strings.Contains(out, "1 piece of what is stored was damaged") {
		t.Errorf("backup of what is damaged: %v\n%s", err, out)
	}
	if out, err := try("", binary, "backup", "--verify", damaged); err == nil || !strings.Contains(out, "is whole") {
		t.Errorf("verify: %v\n%s", err, out)
	}
}
