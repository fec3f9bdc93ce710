package test

import (
	"bufio"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A stranger's first look: one command, a delivered message, a server that
// stays up for a client of theirs and is gone without a trace.
func TestTry(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(binary, "try")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	var text strings.Builder
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), "Ctrl-C") {
		text.WriteString(lines.Text() + "\n")
	}
	if !regexp.MustCompile(`(?m)^Delivered: `).MatchString(text.String()) {
		t.Fatalf("nothing was delivered:\n%s", text.String())
	}
	find := func(pattern string) string {
		m := regexp.MustCompile(pattern).FindStringSubmatch(text.String())
		if m == nil {
			t.Fatalf("%s is not in\n%s", pattern, text.String())
		}
		return m[1]
	}
	config := find(`--config (\S+)`)
	t.Run("a client of one's own", func(t *testing.T) {
		need(t, "swaks")
		run(t, "", "swaks", "--silent", "2", "--server", "127.0.0.1", "--port", find(`or (\d+) with STARTTLS`), "--tls",
			"--auth", "PLAIN", "--auth-user", find(`user +(\S+)`), "--auth-password", find(`password +(\S+)`),
			"--from", find(`user +(\S+)`), "--to", "friend@example.org", "--header", "Subject: away")
		await(t, func() string {
			list := run(t, "", binary, "mailbox", "list", find(`user +(\S+)`), "Captured", "--config", config)
			if strings.Contains(list, "away") {
				return ""
			}
			return "not captured: " + list
		})
	})
	cmd.Process.Signal(syscall.SIGINT)
	ended := make(chan error, 1)
	go func() {
		for lines.Scan() {
		}
		ended <- cmd.Wait()
	}()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("does not end")
	}
	if out, err := exec.Command("ls", strings.TrimSuffix(config, "/gatepost.toml")).CombinedOutput(); err == nil {
		t.Errorf("the directory is still there: %s", out)
	}
}
