package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// server is the Gatepost that all this is about, on a disk of its own.
type server struct {
	*disk
	binary string
	config string
	cmd    *exec.Cmd
	ended  chan error // closed when the process has ended, nil error or not
	log    *transcript
}

// settings: small segments, so that a full disk is felt at once and segments
// are reclaimed all the time.
const settings = `hostname = "mx.soak.test"
[listen]
mx = ["` + door + `"]
submission = []
submissions = []
imaps = []
https = []
http = []
[tls]
self_signed = true
[relay]
networks = ["127.0.0.0/8"]
[remote]
private = ["127.0.0.0/8"]
[limits]
segment_size = "1MiB"
inline_body = "64KiB"
`

// install makes a disk and sets the server up on it. The configuration is on
// another: nobody promises to have synced it.
func install(o options, dir string) (*server, error) {
	d, err := newDisk(o.fs, filepath.Join(dir, "disk"))
	if err != nil {
		return nil, err
	}
	s := &server{disk: d, binary: o.gatepost, config: filepath.Join(dir, "gatepost.toml"), log: &transcript{}}
	text := fmt.Sprintf("data = %q\n", filepath.Join(d.mount, "data")) + settings
	for n := range hopCount {
		text += fmt.Sprintf("[[route]]\ndomain = %q\nvia = %q\ntls = \"none\"\n", hopDomain(n), hopAddr(n))
	}
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	if _, err := s.run("domain", "add", "soak.test"); err != nil {
		return nil, err
	}
	for _, box := range append(boxes, sender) {
		if _, err := s.run("account", "add", box, "--password-stdin"); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// run runs a command on the installation.
func (s *server) run(args ...string) ([]byte, error) {
	cmd := exec.Command(s.binary, append(args, "--config", s.config)...)
	cmd.Stdin = strings.NewReader("correct horse battery staple\n")
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("gatepost %s: %w: %s", strings.Join(args, " "), err, said.Bytes())
	}
	return out, nil
}

// start starts the server and returns once it takes connections.
func (s *server) start() error {
	s.cmd = exec.Command(s.binary, "serve", "--config", s.config)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.ended = make(chan error, 1)
	go func(cmd *exec.Cmd, ended chan error) { ended <- cmd.Wait() }(s.cmd, s.ended)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if conn, err := net.DialTimeout("tcp", door, time.Second); err == nil {
			return conn.Close()
		}
		select {
		case err := <-s.ended:
			s.cmd = nil
			return fmt.Errorf("the server did not start: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	return errors.New("the server opens no door")
}

// kill ends the server as a power cut ends its process.
func (s *server) kill() error {
	if s.cmd == nil {
		return nil
	}
	if err := s.alive(); err != nil {
		return err
	}
	s.cmd.Process.Kill()
	<-s.ended
	s.cmd = nil
	return nil
}

// stop ends the server politely, which must work.
func (s *server) stop() error {
	if err := s.alive(); err != nil {
		return err
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-s.ended:
		s.cmd = nil
		return err
	case <-time.After(2 * patience):
		return errors.New("the server does not end")
	}
}

// alive fails if the server has ended by itself.
func (s *server) alive() error {
	select {
	case err := <-s.ended:
		s.cmd = nil
		return fmt.Errorf("the server has ended by itself: %v", err)
	default:
		return nil
	}
}

// queued returns who the queue still has mail for: the recipients of each
// message, by its id.
func (s *server) queued() (map[string][]string, error) {
	out, err := s.run("queue", "list", "--json")
	if err != nil {
		return nil, err
	}
	var list []struct {
		ID         string `json:"id"`
		Recipients []struct {
			To string `json:"to"`
		} `json:"recipients"`
	}
	if err := json.Unmarshal(out, &list); err != nil {
		return nil, err
	}
	all := map[string][]string{}
	for _, m := range list {
		all[m.ID] = []string{}
		for _, r := range m.Recipients {
			all[m.ID] = append(all[m.ID], r.To)
		}
	}
	return all, nil
}

// remove ends whatever is left.
func (s *server) remove() {
	if s.cmd != nil {
		s.cmd.Process.Kill()
		<-s.ended
	}
	s.disk.remove()
}

// transcript gathers what the server logs.
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

// last returns the end of the log.
func (t *transcript) last(n int) string {
	text := t.String()
	return text[max(0, len(text)-n):]
}

var complaint = regexp.MustCompile(`level=ERROR msg=("[^"]*"|\S+)`)

// complaints counts the errors that were logged, the most frequent first.
func (t *transcript) complaints() string {
	count := map[string]int{}
	for _, m := range complaint.FindAllStringSubmatch(t.String(), -1) {
		count[m[1]]++
	}
	kinds := slices.SortedFunc(maps.Keys(count), func(a, b string) int { return count[b] - count[a] })
	var text strings.Builder
	fmt.Fprintf(&text, "errors logged: %d kinds\n", len(kinds))
	for _, k := range kinds[:min(5, len(kinds))] {
		fmt.Fprintf(&text, "  %6d × %s\n", count[k], k)
	}
	return strings.TrimRight(text.String(), "\n")
}
