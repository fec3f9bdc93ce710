package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The account that every server of a case has.
const (
	user     = "anna"
	password = "correct horse battery"
)

// server is one Gatepost.
type server struct {
	t      *testing.T
	dir    string
	config string
	ip     string // its own, with the real ports
	domain string
	host   string
	cmd    *exec.Cmd
	ended  chan error
	log    *transcript
}

var lastIP atomic.Uint32

// newIP returns a loopback address that no other case uses.
func newIP() string {
	n := lastIP.Add(1)
	return fmt.Sprintf("127.1.%d.%d", n/250, n%250+1)
}

// install sets a server up, with its doors on an address of its own and more
// lines in its configuration, and does not start it.
func install(t *testing.T, domain, more string) *server {
	t.Helper()
	return installIn(t, t.TempDir(), domain, more)
}

// installIn is install in a directory that may be a special one.
func installIn(t *testing.T, dir, domain, more string) *server {
	t.Helper()
	s := &server{t: t, dir: dir, ip: newIP(), domain: domain, host: "mx." + domain, log: &transcript{}}
	s.config = filepath.Join(s.dir, "gatepost.toml")
	run(t, password+"\n", binary, "init", s.dir, "--hostname", s.host, "--domain", domain,
		"--account", s.address(), "--password-stdin")
	s.configure(more)
	return s
}

// configure replaces the configuration.
func (s *server) configure(more string) {
	s.t.Helper()
	text := fmt.Sprintf(`hostname = %q
[listen]
mx = ["%[2]s:25"]
submission = ["%[2]s:587"]
submissions = ["%[2]s:465"]
imaps = []
https = []
http = []
[tls]
self_signed = true
%[3]s
`, s.host, s.ip, more)
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) address() string { return user + "@" + s.domain }

// serve starts a server that was set up and waits until its doors are open.
func (s *server) serve(wrapper ...string) {
	s.t.Helper()
	args := append(wrapper, binary, "serve", "--config", s.config)
	s.run(exec.Command(args[0], args[1:]...))
}

// run starts a server by a command of the case's own.
func (s *server) run(c *exec.Cmd) {
	s.t.Helper()
	s.cmd = c
	s.cmd.Stderr = s.log
	s.cmd.Stdout = s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.ended = make(chan error, 1)
	go func() { s.ended <- s.cmd.Wait() }()
	s.t.Cleanup(func() { s.kill() })
	await(s.t, func() string {
		if conn, err := net.Dial("tcp", s.ip+":465"); err == nil {
			conn.Close()
			return ""
		}
		return "the server is not up:\n" + s.log.String()
	})
}

// start sets a server up and starts it.
func start(t *testing.T, domain, more string) *server {
	t.Helper()
	s := install(t, domain, more)
	s.serve()
	return s
}

// kill ends the server as a power cut would end its process.
func (s *server) kill() {
	if s.cmd != nil {
		s.cmd.Process.Kill()
		<-s.ended
		s.cmd = nil
	}
}

// in returns the server for a sub-case, which then fails for itself.
func (s *server) in(t *testing.T) *server {
	c := *s
	c.t = t
	return &c
}

// account makes another account, with the same password.
func (s *server) account(address string) {
	s.t.Helper()
	run(s.t, password+"\n", binary, "account", "add", address, "--password-stdin", "--config", s.config)
}

// gatepost runs a command on the server's installation.
func (s *server) gatepost(args ...string) string {
	s.t.Helper()
	return run(s.t, "", binary, append(args, "--config", s.config)...)
}

// mail is a message as lists show it.
type mail struct {
	ID      int64     `json:"id"`
	UID     uint32    `json:"uid"`
	Subject string    `json:"subject"`
	From    string    `json:"from"`
	Date    time.Time `json:"date"`
	Size    int64     `json:"size"`
	Flags   []string  `json:"flags"`
}

// inbox returns what is in the INBOX of an account.
func (s *server) inbox(account string) []mail {
	s.t.Helper()
	var list []mail
	s.json(&list, "mailbox", "list", account, "INBOX")
	return list
}

// content returns a whole message.
func (s *server) content(account string, id int64) string {
	s.t.Helper()
	var m struct{ Content string }
	s.json(&m, "mailbox", "show", account, fmt.Sprint(id))
	return m.Content
}

// json runs a command with --json and reads what it printed.
func (s *server) json(v any, args ...string) {
	s.t.Helper()
	out := s.gatepost(append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		s.t.Fatalf("gatepost %s --json: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// arrives waits for a message with the subject and returns it whole.
func (s *server) arrives(account, subject string) string {
	s.t.Helper()
	var found int64
	await(s.t, func() string {
		list := s.inbox(account)
		for _, m := range list {
			if m.Subject == subject {
				found = m.ID
				return ""
			}
		}
		return fmt.Sprintf("no message %q among %+v\n%s\n%s", subject, list, s.gatepost("queue", "list"), s.log)
	})
	return s.content(account, found)
}

// queued is a message in the queue.
type queued struct {
	ID         string `json:"id"`
	From       string `json:"from"`
	Held       bool   `json:"held"`
	Recipients []struct {
		To       string `json:"to"`
		Status   string `json:"status"`
		Attempts int    `json:"attempts"`
		Reason   string `json:"reason"`
	} `json:"recipients"`
}

func (s *server) queue(args ...string) []queued {
	s.t.Helper()
	var list []queued
	s.json(&list, append([]string{"queue", "list"}, args...)...)
	return list
}

// settles waits until the queue is empty.
func (s *server) settles() {
	s.t.Helper()
	await(s.t, func() string {
		if list := s.queue(); len(list) > 0 {
			return fmt.Sprintf("still queued: %+v", list)
		}
		return ""
	})
}

// transcript gathers what a process prints.
type transcript struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

// stop ends the server as an operator does.
func (s *server) stop() {
	s.t.Helper()
	s.cmd.Process.Signal(syscall.SIGTERM)
	if err := <-s.ended; err != nil {
		s.t.Errorf("it ended with %v\n%s", err, s.log)
	}
	s.cmd = nil
}
