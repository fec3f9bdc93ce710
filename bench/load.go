package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// load is what the load generator tells of its work.
type load struct {
	Accepted int                `json:"accepted"`
	Failed   int                `json:"failed"`
	Errors   map[string]int     `json:"errors"`
	Seconds  float64            `json:"seconds"`
	Rate     float64            `json:"msgs_per_s"`
	MB       float64            `json:"mb_per_s"`
	Ack      map[string]float64 `json:"ack_ms"`
	Resumed  int                `json:"tls_resumed"`

	began time.Time
	cpu   time.Duration // of the generator
}

// load sends messages; all must be taken.
func (b *bench) load(args ...string) (load, error) {
	l := load{began: time.Now()}
	cmd := exec.Command(b.smtpload, append([]string{"load"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return l, fmt.Errorf("smtpload: %w", err)
	}
	if err := json.Unmarshal(out, &l); err != nil {
		return l, fmt.Errorf("smtpload: %w: %s", err, out)
	}
	l.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if l.Failed > 0 {
		return l, fmt.Errorf("%d of %d messages failed: %v", l.Failed, l.Failed+l.Accepted, l.Errors)
	}
	return l, nil
}

// sink is a next hop that takes and forgets.
type sink struct {
	cmd *exec.Cmd
	out bytes.Buffer
}

// hop is where the sink listens.
const hop = "127.0.0.9:2600"

// taken is what a sink tells at its end.
type taken struct {
	Messages int     `json:"messages"`
	Last     float64 `json:"last_unix"`
	cpu      time.Duration
}

// sink starts a next hop that ends after n messages, or when it is told to.
func (b *bench) sink(n int) (*sink, error) {
	s := &sink{cmd: exec.Command(b.smtpload, "sink", "-addr", hop, "-count", fmt.Sprint(n), "-max-time", "5m")}
	s.cmd.Stdout, s.cmd.Stderr = &s.out, os.Stderr
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	return s, await("the sink", func() bool { return answers(hop) })
}

// wait returns what the sink took, once it has all it waits for.
func (s *sink) wait() (t taken, err error) {
	if err := s.cmd.Wait(); err != nil {
		return t, fmt.Errorf("sink: %w", err)
	}
	t.cpu = s.cmd.ProcessState.UserTime() + s.cmd.ProcessState.SystemTime()
	return t, json.Unmarshal(s.out.Bytes(), &t)
}

func (s *sink) stop() (taken, error) {
	if err := s.cmd.Process.Signal(syscall.SIGINT); err != nil {
		return taken{}, err
	}
	return s.wait()
}

// answers reports whether somebody listens at an address.
func answers(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// patience is how long anything may take to come true.
const patience = 4 * time.Minute

// await waits until something holds.
func await(what string, holds func() bool) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if holds() {
			return nil
		}
	}
	return fmt.Errorf("%s: not within %v", what, patience)
}
