package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gatepost/internal/account/record"
	"gatepost/internal/account/secret"
	"gatepost/internal/account/terms"
	"gatepost/internal/addr"
	"gatepost/internal/daemon/datadir"
	"gatepost/internal/store"
)

const (
	password = "correct horse battery"
	device   = "0123-4567-89ab-cdef-ghjk-mnpq-rstv"
	door     = "127.0.0.1:46500"
	patience = time.Minute
)

func name(i int) string { return fmt.Sprintf("user%d@local.test", i) }

// server is one that was set up in a directory of its own.
type server struct {
	binary, dir string
	cmd         *exec.Cmd
}

func install(binary string) (*server, error) {
	dir, err := os.MkdirTemp("", "people-")
	if err != nil {
		return nil, err
	}
	s := &server{binary: binary, dir: dir}
	cmd := exec.Command(binary, "init", dir, "--hostname", "mx.local.test", "--domain", "local.test", "--account", "user@local.test", "--password-stdin")
	cmd.Stdin = strings.NewReader(password + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	config := "hostname = \"mx.local.test\"\n[listen]\nmx = []\nsubmission = []\nsubmissions = [\"" + door + "\"]\nimaps = []\nhttps = []\nhttp = []\n[tls]\nself_signed = true\n"
	return s, os.WriteFile(s.config(), []byte(config), 0o600)
}

func (s *server) config() string { return filepath.Join(s.dir, "gatepost.toml") }

func (s *server) remove() {
	s.stop()
	os.RemoveAll(s.dir)
}

// start starts it and returns how long it took until its door was open.
func (s *server) start() (time.Duration, error) {
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return 0, err
	}
	began := time.Now()
	s.cmd = exec.Command(s.binary, "serve", "--config", s.config())
	s.cmd.Stderr = log
	if err := s.cmd.Start(); err != nil {
		return 0, err
	}
	for time.Since(began) < patience {
		if conn, err := net.Dial("tcp", door); err == nil {
			conn.Close()
			return time.Since(began), nil
		}
		time.Sleep(2 * time.Millisecond)
	}
	return 0, errors.New("it did not start; see " + log.Name())
}

func (s *server) stop() {
	if s.cmd != nil {
		s.cmd.Process.Signal(syscall.SIGTERM)
		s.cmd.Wait()
		s.cmd = nil
	}
}

// memory returns what it has of the machine's, in KiB, a while after it has
// nothing to do.
func (s *server) memory() (kib int64, err error) {
	time.Sleep(20 * time.Second)
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if v, ok := strings.CutPrefix(sc.Text(), "RssAnon:"); ok {
			return strconv.ParseInt(strings.Fields(v)[0], 10, 64)
		}
	}
	return 0, errors.New("no RssAnon")
}

// furnish writes accounts into the store of a server that does not run: each
// with the password of the first, whose hash is copied, and one device.
func (s *server) furnish(n int) error {
	ctx := context.Background()
	db, err := store.Open(ctx, store.Options{Path: datadir.Store(s.dir), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.Update(ctx, func(tx *store.Tx) error {
		first, err := record.ReadPerson(tx, addr.MustParse("user@local.test"))
		if err != nil {
			return err
		}
		for i := range n {
			p := &record.Person{Account: first.Account, Salt: first.Salt, Iterations: first.Iterations}
			p.Address = addr.MustParse(name(i))
			id, err := record.InsertAccount(tx, p)
			if err != nil {
				return err
			}
			for _, c := range []*record.Credential{
				{Kind: record.Password, Argon2: first.Credentials[0].Argon2, Set: first.Created},
				{Kind: record.Device, Name: "phone", SHA256: secret.Sum(device), Set: first.Created, Terms: terms.Terms{Scope: terms.Both}},
			} {
				if c.ID, err = tx.NextID("credential"); err != nil {
					return err
				}
				if err := record.InsertCredential(tx, id, c); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// session is a connection that said hello.
type session struct {
	*textproto.Conn
	conn net.Conn
}

// dial connects from an address.
func dial(ip string) (*session, error) {
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}, Timeout: patience}
	conn, err := tls.DialWithDialer(d, "tcp", door, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return nil, err
	}
	c := &session{textproto.NewConn(conn), conn}
	if _, _, err = c.ReadResponse(220); err == nil {
		_, err = c.say("EHLO client.test", 250)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// say sends a line and returns how long the answer took.
func (c *session) say(line string, want int) (time.Duration, error) {
	began := time.Now()
	if err := c.PrintfLine("%s", line); err != nil {
		return 0, err
	}
	_, _, err := c.ReadResponse(want)
	return time.Since(began), err
}

// plain is the command that signs in.
func plain(user, password string) string {
	return "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password))
}
