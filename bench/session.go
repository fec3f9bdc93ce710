package main

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net/textproto"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"

	"gatepost/internal/account/secret"
)

// submit measures messages from connections that each begin with STARTTLS.
// Gatepost takes nothing on this door before a sign-in; Postfix is spared
// that.
func submit(messages int, resume bool) func(*bench, server) (figures, error) {
	return func(b *bench, s server) (figures, error) {
		args := []string{"-conns", "50", "-per-conn", "1", "-size", "4096", "-starttls", fmt.Sprintf("-resume=%v", resume), "-from", account(0)}
		if s.name() == "gatepost" {
			args = append(args, "-auth", account(0)+":"+password)
		}
		return b.submission(s, messages, args)
	}
}

// signIn measures connections that each begin with STARTTLS and a sign-in to
// the same account.
func signIn(b *bench, s server) (figures, error) {
	return b.submission(s, 3000, []string{"-conns", "50", "-per-conn", "1", "-size", "4096", "-starttls", "-from", account(0),
		"-auth", account(0) + ":" + password})
}

func (b *bench) submission(s server, messages int, args []string) (f figures, err error) {
	n := b.messages(s, messages)
	before := cpu(s.pid())
	l, _, err := b.loadSink(s.at(587), with(args, "-msgs", n))
	f = figures{rate: l.Rate, p50: l.Ack["p50"], p99: l.Ack["p99"], cpu: per1000(cpu(s.pid())-before, n), others: per1000(l.cpu, n)}
	if l.Resumed > 0 {
		f.note = fmt.Sprintf("%d %% resumed", 100*l.Resumed/max(1, l.Accepted))
	}
	return f, err
}

// cold measures sign-ins of which each needs a password hash.
func cold(b *bench, s server) (f figures, err error) {
	n := 50
	var next atomic.Int32
	var failed atomic.Pointer[error]
	began := time.Now()
	crowd(2*runtime.NumCPU(), func() {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			if err := login(s.at(465), account(i)); err != nil {
				failed.Store(&err)
			}
		}
	})
	if e := failed.Load(); e != nil {
		return f, *e
	}
	return figures{rate: float64(n) / time.Since(began).Seconds()}, nil
}

// rawHashes is how many hashes a second this machine computes, at their full
// cost, and nothing else.
func rawHashes(*bench) (float64, error) {
	const n = 24
	var next atomic.Int32
	began := time.Now()
	crowd(runtime.NumCPU(), func() {
		for salt := make([]byte, 16); next.Add(1) <= n; {
			c := secret.Argon2id
			argon2.IDKey([]byte(password), salt, c.Time, c.Memory, c.Lanes, 32)
		}
	})
	return n / time.Since(began).Seconds(), nil
}

// crowd runs f n times at once.
func crowd(n int, f func()) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(f)
	}
	wg.Wait()
}

// login signs in over implicit TLS and leaves.
func login(addr, user string) error {
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return err
	}
	defer conn.Close()
	c := textproto.NewConn(conn)
	if _, _, err := c.ReadResponse(220); err != nil {
		return err
	}
	for _, step := range []struct {
		command string
		want    int
	}{
		{"EHLO client.test", 250},
		{"AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)), 235},
	} {
		if err := c.PrintfLine("%s", step.command); err != nil {
			return err
		}
		if _, _, err := c.ReadResponse(step.want); err != nil {
			return err
		}
	}
	return nil
}

// idle measures what a connection costs whose client says nothing, and
// whether ten thousand of them slow others down.
func idle(args ...string) func(*bench, server) (figures, error) {
	return func(b *bench, s server) (f figures, err error) {
		const n = 10000
		load := with(kept, "-addr", s.at(25), "-msgs", b.n(10000))
		alone, err := b.load(load...) // also warms what is allocated once
		if err != nil {
			return f, err
		}
		time.Sleep(15 * time.Second) // for what the load has left to be given back
		before := memory(s.pid(), "Pss")
		cmd := exec.Command(b.smtpload, with(append([]string{"idle"}, args...), "-addr", s.at(25), "-spread", "-conns", n, "-hold", "60s")...)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			return f, err
		}
		if err := cmd.Start(); err != nil {
			return f, err
		}
		lines := bufio.NewScanner(out)
		if !lines.Scan() || !strings.Contains(lines.Text(), fmt.Sprintf(`"opened":%d`, n)) {
			return f, fmt.Errorf("opened: %s", lines.Text())
		}
		time.Sleep(30 * time.Second)
		f.rate = float64(memory(s.pid(), "Pss")-before) / n
		beside, err := b.load(load...)
		if err != nil {
			return f, err
		}
		if !lines.Scan() || !strings.Contains(lines.Text(), fmt.Sprintf(`"alive":%d`, n)) {
			return f, fmt.Errorf("alive: %s", lines.Text())
		}
		f.note = fmt.Sprintf("others at %.2f of the speed without", beside.Rate/alone.Rate)
		return f, cmd.Wait()
	}
}

// restart measures how long it takes until a server with a long queue takes
// mail again.
func restart(b *bench, s server) (f figures, err error) {
	g := s.(*gatepost)
	n := b.n(100000)
	if err := fresh(g); err != nil {
		return f, err
	}
	empty := memory(g.pid(), "Pss")
	if _, err := b.load(with(kept, "-addr", s.at(25), "-msgs", n)...); err != nil {
		return f, err
	}
	began := time.Now()
	if err := fresh(g); err != nil {
		return f, err
	}
	f.rate = time.Since(began).Seconds()
	time.Sleep(10 * time.Second)
	queued, err := g.metric("gatepost_queue_messages")
	if err == nil && queued != n {
		err = fmt.Errorf("%d queued of %d", queued, n)
	}
	f.note = fmt.Sprintf("%d octets of memory a message", (memory(g.pid(), "Pss")-empty)*1024/n)
	return f, err
}

// fresh ends a server and starts it again on the same files.
func fresh(g *gatepost) error {
	// Not politely: what a crash leaves is what a start must be quick with.
	if err := g.cmd.Process.Kill(); err != nil {
		return err
	}
	_ = g.cmd.Wait()
	if err := await("the port", func() bool { return !answers(g.at(25)) }); err != nil {
		return err
	}
	return g.serve()
}
