// Command mover measures the import and export of mailboxes: messages a
// second, and the most memory that the command and the server ever held.
// bench/transfer builds what it needs and starts it.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	var m mover
	sizes := flag.String("messages", "20000,200000", "how many messages, separated by commas")
	dir := flag.String("dir", ".", "where to work")
	flag.StringVar(&m.gatepost, "gatepost", "", "the binary under test")
	flag.Parse()
	fmt.Println("| messages | octets | what | messages a second | the command's memory | the server's |")
	fmt.Println("|---|---|---|---|---|---|")
	for size := range strings.SplitSeq(*sizes, ",") {
		n, err := strconv.Atoi(size)
		if err == nil {
			err = m.measure(*dir, n)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "mover:", err)
			os.Exit(1)
		}
	}
}

// mover measures one size after the other, each in a directory of its own.
type mover struct {
	gatepost string
	dir      string
	messages int
	octets   int64
	server   *exec.Cmd
}

const (
	config = `hostname = "mx.bench.test"
[listen]
mx = []
submission = []
submissions = []
imaps = []
https = []
http = []
[tls]
self_signed = true
`
	password = "correct horse battery staple\n"
	patience = 30 * time.Second
)

func (m *mover) measure(dir string, n int) (err error) {
	if m.dir, err = os.MkdirTemp(dir, "mover-"); err != nil {
		return err
	}
	defer os.RemoveAll(m.dir)
	m.messages = n
	mbox, maildir := filepath.Join(m.dir, "in.mbox"), filepath.Join(m.dir, "out")+"/"
	if m.octets, err = write(mbox, n); err != nil {
		return err
	}
	for _, step := range []struct {
		what string
		args []string
	}{
		{"import of an mbox", []string{"import", "a@bench.test", mbox}},
		{"the same again", []string{"import", "a@bench.test", mbox}},
		{"export to a Maildir", []string{"export", "a@bench.test", maildir}},
		{"import of a Maildir", []string{"import", "b@bench.test", maildir}},
		{"export to an mbox", []string{"export", "b@bench.test", filepath.Join(m.dir, "out.mbox")}},
	} {
		if err := m.step(step.what, step.args); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

// step runs a command beside a server that was just started, so that the
// server's memory is of that command alone.
func (m *mover) step(what string, args []string) error {
	if err := m.serve(); err != nil {
		return err
	}
	defer m.stop()
	cmd := exec.Command(m.gatepost, append([]string{"mailbox"}, append(args, "--config", m.config())...)...)
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	took := time.Since(began)
	server, err := peak(m.server.Process.Pid)
	if err != nil {
		return err
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	fmt.Printf("| %d | %.1f GB | %s | %.0f | %d MiB | %d MiB |\n",
		m.messages, float64(m.octets)/1e9, what, float64(m.messages)/took.Seconds(), usage.Maxrss>>10, server>>10)
	return nil
}

func (m *mover) config() string { return filepath.Join(m.dir, "data", "gatepost.toml") }

// serve starts the server, which is set up first if it is not there.
func (m *mover) serve() error {
	data := filepath.Join(m.dir, "data")
	if _, err := os.Stat(data); err != nil {
		if err := m.run("init", data, "--hostname", "mx.bench.test", "--domain", "bench.test", "--account", "a@bench.test", "--password-stdin"); err != nil {
			return err
		}
		if err := os.WriteFile(m.config(), []byte(config), 0o600); err != nil {
			return err
		}
		if err := m.run("account", "add", "b@bench.test", "--password-stdin", "--config", m.config()); err != nil {
			return err
		}
	}
	m.server = exec.Command(m.gatepost, "serve", "--config", m.config())
	if err := m.server.Start(); err != nil {
		return err
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(data, "control.sock")); err == nil {
			return nil
		}
	}
	return fmt.Errorf("the server does not start")
}

func (m *mover) stop() {
	_ = m.server.Process.Signal(syscall.SIGTERM)
	_ = m.server.Wait()
}

func (m *mover) run(args ...string) error {
	cmd := exec.Command(m.gatepost, args...)
	cmd.Stdin = strings.NewReader(password)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("gatepost %s: %w\n%s", args[0], err, out)
	}
	return nil
}

// peak returns the most memory that a process ever held, in KiB.
func peak(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmHWM:" {
			return strconv.Atoi(fields[1])
		}
	}
	return 0, fmt.Errorf("/proc/%d/status tells no VmHWM", pid)
}

// write makes an mbox of n messages of the sizes that mailboxes have: mostly
// some KiB, a tenth of them ten times as large, and one of a hundred too large
// for a row of the database.
func write(path string, n int) (octets int64, err error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	random := rand.New(rand.NewPCG(1, 2))
	line := strings.Repeat("The quick brown fox jumps over the lazy dog and on. ", 2)[:75] + "\n"
	for i := range n {
		size := 1500 + random.IntN(4000)
		switch r := random.IntN(100); {
		case r == 0:
			size = 70_000 + random.IntN(60_000)
		case r < 10:
			size *= 5
		}
		when := time.Unix(1_400_000_000+int64(i)*60, 0).UTC()
		fmt.Fprintf(w, "From a%d@example.org %s\nFrom: A <a%d@example.org>\nTo: b@bench.test\nSubject: number %d\nDate: %s\nMessage-ID: <%d@example.org>\nStatus: RO\n\n",
			i, when.Format(time.ANSIC), i, i, when.Format(time.RFC1123Z), i)
		for range size / len(line) {
			w.WriteString(line)
		}
		w.WriteByte('\n')
	}
	if err := w.Flush(); err != nil {
		return 0, err
	}
	fi, err := f.Stat()
	return fi.Size(), err
}
