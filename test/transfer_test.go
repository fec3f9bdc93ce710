package test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// unhandy are messages that a careless copy changes.
var unhandy = []string{
	"Subject: plain\n\nbody\n",
	"Subject: dos\r\n\r\nbody\r\n",
	"Subject: mixed\r\n\nunix\ndos\r\n",
	"Subject: no end\n\nbody",
	"Subject: octets\n\n\x00\xff\xfe\r\r\n\rx\n",
	"Subject: from\n\nFrom me\n>From you\n>>From them\n\n\n",
	"no header at all\n",
	"Subject: large\n\n" + strings.Repeat("0123456789abcdef\n", 10_000),
}

// writeMaildir writes messages as a Maildir: of every second one it says that
// it was read.
func writeMaildir(t *testing.T, messages []string) string {
	t.Helper()
	dir := t.TempDir()
	for _, sub := range []string{"cur", "new", "tmp", ".Entw&APw-rfe.2=2E0/cur"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for i, m := range messages {
		sub, flags := "cur", "S"
		if i%2 == 1 {
			sub, flags = ".Entw&APw-rfe.2=2E0/cur", "DR"
		}
		path := filepath.Join(dir, sub, fmt.Sprintf("%d.%d.host:2,%s", 1_400_000_000+i, i, flags))
		if err := os.WriteFile(path, []byte(m), 0o600); err != nil {
			t.Fatal(err)
		}
		when := time.Unix(int64(1_400_000_000+i), 0)
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// readMaildir lists what is in a Maildir: where, when, flags and content.
func readMaildir(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(path, "/cur/") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fi, err := d.Info()
		_, flags, _ := strings.Cut(d.Name(), ":2,")
		where, _ := filepath.Rel(dir, filepath.Dir(path))
		list = append(list, fmt.Sprintf("%s %d %s %q", where, fi.ModTime().Unix(), flags, b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

// Mail goes in and comes out as it was, with a running server and without
// one, however often, and by an mbox too.
func TestTransfer(t *testing.T) {
	t.Parallel()
	s := start(t, "transfer.test", "")
	source := writeMaildir(t, unhandy)
	want := readMaildir(t, source)
	for _, step := range []string{"running", "again", "stopped"} {
		box := "anna@transfer.test"
		imported := fmt.Sprintf("Imported %d messages.\n", len(unhandy))
		if step == "again" {
			imported = fmt.Sprintf("Imported 0 messages; imported before: %d.\n", len(unhandy))
		}
		if step == "stopped" {
			box = "ben@transfer.test"
			s.account(box)
			s.stop()
		}
		if out := s.gatepost("mailbox", "import", box, source); out != imported {
			t.Errorf("%s: %s", step, out)
		}
		dir := filepath.Join(t.TempDir(), "out") + "/"
		s.gatepost("mailbox", "export", box, dir)
		if got := readMaildir(t, dir); !slices.Equal(got, want) {
			t.Errorf("%s: %.200q\nwant %.200q", step, got, want)
		}
	}

	// By an mbox into another mailbox: there the last line gets an end, and
	// what has CR LF throughout has LF.
	file := filepath.Join(t.TempDir(), "all.mbox")
	s.gatepost("mailbox", "export", "ben@transfer.test", file)
	s.account("carl@transfer.test")
	s.gatepost("mailbox", "import", "carl@transfer.test", file)
	dir := filepath.Join(t.TempDir(), "out") + "/"
	s.gatepost("mailbox", "export", "carl@transfer.test", dir)
	want = nil
	for _, m := range readMaildir(t, source) {
		m = strings.Replace(m, `dos\r\n\r\nbody\r\n"`, `dos\n\nbody\n"`, 1)
		want = append(want, strings.Replace(m, `\n\nbody"`, `\n\nbody\n"`, 1))
	}
	if got := readMaildir(t, dir); !slices.Equal(got, want) {
		t.Errorf("by an mbox: %.300q\nwant %.300q", got, want)
	}
	if out, _ := try("", binary, "check", "--deep", "--config", s.config); !strings.Contains(out, "All mailboxes are sound") {
		t.Error(out)
	}
}

// An import whose command or server is killed is run again, and everything is
// there once.
func TestTransferKilled(t *testing.T) {
	t.Parallel()
	s := start(t, "resume.test", "")
	var file bytes.Buffer
	const messages = 3000
	for i := range messages {
		fmt.Fprintf(&file, "From x Thu Jan  1 00:16:40 1970\nSubject: %d\n\nbody %d\n\n", i, i)
	}
	path := filepath.Join(t.TempDir(), "in.mbox")
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	count := func() int { return len(s.inbox(s.address())) }
	for _, killed := range []string{"command", "server"} {
		before := count()
		c := exec.Command(binary, "mailbox", "import", s.address(), path, "--config", s.config)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		await(t, func() string {
			if n := count(); n > before {
				return ""
			}
			return "nothing is filed"
		})
		if killed == "command" {
			c.Process.Kill()
		} else {
			s.kill()
		}
		c.Wait()
		if killed == "server" {
			s.serve()
		}
	}
	s.gatepost("mailbox", "import", s.address(), path)
	list := s.inbox(s.address())
	seen := map[string]int{}
	for _, m := range list {
		seen[m.Subject]++
	}
	if len(list) != messages || len(seen) != messages {
		t.Errorf("%d messages, %d different ones", len(list), len(seen))
	}
}

// What cannot be taken is named, and the rest is in.
func TestTransferRefused(t *testing.T) {
	t.Parallel()
	s := install(t, "refused.test", "")
	dir := writeMaildir(t, unhandy[:2])
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "cur", "2.link:2,")); err != nil {
		t.Fatal(err)
	}
	huge := filepath.Join(dir, "cur", "3.huge:2,")
	if err := os.WriteFile(huge, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, 300<<20); err != nil {
		t.Fatal(err)
	}
	out, err := try("", binary, "mailbox", "import", s.address(), dir, "--config", s.config)
	if err == nil || !strings.Contains(out, "Imported 2 messages; not imported: 2.") ||
		!strings.Contains(out, "cur/2.link:2,: it is a link") || !strings.Contains(out, "cur/3.huge:2,: it has 314572800 octets") {
		t.Errorf("%v, %s", err, out)
	}
	s.gatepost("account", "set", s.address(), "--quota", "1KiB")
	big := filepath.Join(t.TempDir(), "big.mbox")
	if err := os.WriteFile(big, []byte("From x Thu Jan  1 00:16:40 1970\nA: 1\n\n\nFrom x Thu Jan  1 00:16:40 1970\nA: 2\n\n"+strings.Repeat("x", 2000)+"\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err = try("", binary, "mailbox", "import", s.address(), big, "--config", s.config)
	if err == nil || !strings.Contains(out, "Imported 1 message.") || !strings.Contains(out, "is full; give it room") {
		t.Errorf("%v, %s", err, out)
	}
	s.gatepost("account", "set", s.address(), "--quota", "1MiB")
	if out := s.gatepost("mailbox", "import", s.address(), big); out != "Imported 1 message; imported before: 1.\n" {
		t.Error(out)
	}
	for _, args := range [][]string{{"import", s.address(), "/dev/null"}, {"import", s.address(), s.config}, {"import", "nobody@refused.test", big}, {"import", s.address(), big, "--dialect", "x"}} {
		if out, err := try("", binary, append(append([]string{"mailbox"}, args...), "--config", s.config)...); err == nil {
			t.Errorf("%q: %s", args, out)
		}
	}
}

// writePython makes mailboxes with Python's own module: an mbox, which it
// quotes as mboxo says, and a Maildir with a sub-folder.
const writePython = `
import mailbox, sys
texts = [b"Subject: %d\n\nFrom here\n to %d\n\n\n" % (i, i) for i in range(20)]
box = mailbox.mbox(sys.argv[1] + "/box")
tree = mailbox.Maildir(sys.argv[1] + "/tree", create=True)
sub = tree.add_folder("Work.Old")
for i, text in enumerate(texts):
    m = mailbox.mboxMessage(text)
    m.set_from("anna@example.org", (2015, 1, 2, 3, 4, i, 4, 2, 0))
    m.set_flags("RO" + ("F" if i % 2 else ""))
    box.add(m)
    m = mailbox.MaildirMessage(text)
    m.set_subdir("cur" if i % 3 else "new")
    m.set_flags("FS" if i % 3 else "")
    m.set_date(1400000000 + i)
    (sub if i % 2 else tree).add(m)
box.flush()
`

// readPython reads both again, and prints a line for each message.
const readPython = `
import mailbox, sys
for m in mailbox.mbox(sys.argv[1]):
    print("mbox", m["Subject"], m["X-Gatepost-Folder"], m.get_from().split(" ", 1)[1], "".join(sorted(m.get_flags())))
tree = mailbox.Maildir(sys.argv[2], create=False)
print("folders", sorted(tree.list_folders()))
for name, box in ("top", tree), ("sub", tree.get_folder("Work.Old")):
    for m in sorted(box, key=lambda m: int(m["Subject"])):
        print(name, m["Subject"], int(m.get_date()), m.get_flags(), repr(m.get_payload()))
`

// Another implementation writes what we read, and reads what we write.
func TestTransferPython(t *testing.T) {
	t.Parallel()
	s := install(t, "python.test", "")
	dir := t.TempDir()
	run(t, "", "python3", "-c", writePython, dir)
	s.account("mbox@python.test")
	s.gatepost("mailbox", "import", "mbox@python.test", filepath.Join(dir, "box"), "--dialect", "mboxo")
	s.gatepost("mailbox", "import", s.address(), filepath.Join(dir, "tree"))

	list := s.inbox("mbox@python.test")
	if len(list) != 20 {
		t.Fatalf("%d messages", len(list))
	}
	for i, m := range list {
		content := s.content("mbox@python.test", m.ID)
		flags := strings.Join(m.Flags, " ")
		if m.Subject != fmt.Sprint(i) || !strings.Contains(content, "\r\n\r\nFrom here\r\n to ") || (flags == `\Seen \Flagged`) != (i%2 == 1) {
			t.Fatalf("%+v: %q", m, content)
		}
	}
	box, tree := filepath.Join(dir, "out.mbox"), filepath.Join(dir, "out")
	s.gatepost("mailbox", "export", "mbox@python.test", box)
	s.gatepost("mailbox", "export", s.address(), tree+"/")
	want := ""
	for i := range 20 {
		f := "OR"
		if i%2 == 1 {
			f = "FOR"
		}
		want += fmt.Sprintf("mbox %d None Fri Jan  2 03:04:%02d 2015 %s\n", i, i, f)
	}
	want += "folders ['Work.Old']\n"
	for _, place := range []string{"top", "sub"} {
		for i := range 20 {
			if (place == "sub") != (i%2 == 1) {
				continue
			}
			f := ""
			if i%3 != 0 {
				f = "FS"
			}
			want += fmt.Sprintf("%s %d %d %s 'From here\\n to %d\\n\\n\\n'\n", place, i, 1_400_000_000+i, f, i)
		}
	}
	if got := run(t, "", "python3", "-c", readPython, box, tree); got != want {
		t.Errorf("Python reads\n%s\nwant\n%s", got, want)
	}
}

// corpora is mail that others found worth keeping, much of it malformed.
const corpora = "../../shared/corpora"

// Real mail, forged mail and broken mail comes out as it went in: from a
// Maildir octet for octet, from an mbox likewise but for CR LF and the end of
// the last line.
func TestTransferCorpora(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(corpora); err != nil {
		t.Skipf("the corpora are not beside this project: %v", err)
	}
	dir := t.TempDir()
	run(t, "", "cp", "-r", corpora+"/mime", filepath.Join(dir, "mime"))
	for _, name := range []string{"spamassassin-spam-1", "phishing_pot-2022-2024-sample400"} {
		run(t, "", "tar", "-xJf", corpora+"/mail/"+name+".tar.xz", "-C", dir)
	}
	var messages []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if len(b) > 0 {
			messages = append(messages, string(b))
		}
		return err
	})
	if err != nil || len(messages) < 1000 {
		t.Fatalf("%d messages, %v", len(messages), err)
	}
	s := install(t, "corpora.test", "")
	source := writeMaildir(t, messages)
	s.gatepost("mailbox", "import", s.address(), source)
	out := filepath.Join(t.TempDir(), "out") + "/"
	s.gatepost("mailbox", "export", s.address(), out)
	if got, want := readMaildir(t, out), readMaildir(t, source); !slices.Equal(got, want) {
		t.Errorf("%d messages came back from a Maildir, not %d as they were", len(got), len(want))
	}

	s.account("mbox@corpora.test")
	var file, want []string
	quote := regexp.MustCompile(`(?m)^(>*From )`)
	for _, m := range messages {
		m = strings.TrimSuffix(strings.ReplaceAll(m, "\r\n", "\n"), "\n") + "\n"
		file, want = append(file, "From x Thu Jan  1 00:16:40 1970\n"+quote.ReplaceAllString(m, ">$1")+"\n"), append(want, m)
	}
	in, back := filepath.Join(dir, "in.mbox"), filepath.Join(dir, "out.mbox")
	if err := os.WriteFile(in, []byte(strings.Join(file, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	s.gatepost("mailbox", "import", "mbox@corpora.test", in)
	s.gatepost("mailbox", "export", "mbox@corpora.test", back)
	b, err := os.ReadFile(back)
	if err != nil {
		t.Fatal(err)
	}
	got := regexp.MustCompile(`(?m)^From MAILER-DAEMON Thu Jan  1 00:16:40 1970\n`).Split(string(b), -1)[1:]
	for i := range got {
		got[i] = strings.TrimSuffix(regexp.MustCompile(`(?m)^>(>*From )`).ReplaceAllString(got[i], "$1"), "\n")
		// The fields in front of a message that tells flags or a folder in
		// another way than we would.
		got[i] = regexp.MustCompile(`\AX-Gatepost-Folder:.*\nStatus:.*\nX-Status:.*\nX-Keywords:.*\n`).ReplaceAllString(got[i], "")
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d messages came back from an mbox, not %d as they were", len(got), len(want))
	}
}
