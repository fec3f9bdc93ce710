package test

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A message that nothing reaches is told of in plain words, can be held,
// released, dropped and tried again, and arrives once the way is open.
func TestQueueCommands(t *testing.T) {
	t.Parallel()
	later := &peer{addr: newIP(), answer: func(string) string { return "" }} // not there yet
	s := start(t, "stuck.test", later.route("away.test")+"[remote]\nprivate = [\"127.0.0.0/8\"]\n")
	c := s.signIn(t, s.address())
	one := c.mail("<"+s.address()+">", []string{"<x@away.test>", "<y@away.test>"}, letter(s.address(), "one"))
	two := c.mail("<"+s.address()+">", []string{"<z@away.test>"}, letter(s.address(), "two"))
	reason := "no connection to [" + later.addr + "] (" + later.addr + "): connection refused"
	await(t, func() string {
		list := s.queue()
		if len(list) == 2 && strings.Contains(list[0].Recipients[0].Reason, reason) && strings.Contains(list[1].Recipients[0].Reason, reason) {
			return ""
		}
		return fmt.Sprintf("%+v", list)
	})
	// states returns what the queue says of a message, as "x deferred, y ...".
	states := func() string {
		var words []string
		for _, m := range s.queue() {
			for _, r := range m.Recipients {
				state := r.Status
				if m.Held {
					state = "held"
				}
				words = append(words, r.To[:1]+" "+state)
			}
		}
		return strings.Join(words, ", ")
	}
	for _, step := range []struct{ command, says, leaves string }{
		{"hold " + two, "Held: 1 message.", "x deferred, y deferred, z held"},
		{"release " + two, "Released: 1 message.", "x deferred, y deferred, z pending"},
		{"drop " + one + " y@away.test", "Dropped: 1 message.", "x deferred, z pending"},
		{"hold " + two, "Held: 1 message.", "x deferred, z held"},
		{"release all", "Released: 1 message.", "x deferred, z pending"},
	} {
		out := s.gatepost(append([]string{"queue"}, strings.Fields(step.command)...)...)
		if strings.TrimSpace(out) != step.says {
			t.Errorf("%s: %s", step.command, out)
		}
		// A message whose turn has not come is pending, else deferred.
		if got := states(); strings.ReplaceAll(got, "pending", "deferred") != strings.ReplaceAll(step.leaves, "pending", "deferred") {
			t.Errorf("after %s: %s, want %s", step.command, got, step.leaves)
		}
	}
	for _, want := range []string{one, "<" + s.address() + ">", "x@away.test", "refused", "tried again at"} {
		if out := s.gatepost("queue", "show", one); !strings.Contains(out, strings.Trim(want, "<>")) {
			t.Errorf("show does not tell %q:\n%s", want, out)
		}
	}
	if out := s.gatepost("queue", "list"); strings.Count(out, "\n") != 3 || strings.Contains(out, "route:") {
		t.Errorf("list:\n%s", out)
	}
	for _, command := range []string{"show", "retry", "hold", "release", "drop"} {
		out, err := try("", binary, "queue", command, strings.Repeat("0", 26), "--config", s.config)
		if err == nil || !strings.Contains(out, "no such message in the queue") {
			t.Errorf("%s of nothing: %v, %s", command, err, out)
		}
	}

	later.open(t)
	if out := s.gatepost("queue", "retry", one); out != "Trying again: 1 message.\n" {
		t.Errorf("retry: %s", out)
	}
	s.settles()
	for _, d := range later.gets(t, 2) {
		if len(d.to) != 1 || d.to[0] == "<y@away.test>" {
			t.Errorf("%q got one", d.to)
		}
	}
	if list := s.inbox(s.address()); len(list) != 0 {
		t.Errorf("the sender was told of %+v", list)
	}
}

// SIGHUP takes over a new configuration: for sessions that begin and for the
// mail that is stuck. Sessions that run go on as they began. A file with a
// fault changes nothing.
func TestReload(t *testing.T) {
	t.Parallel()
	dead, alive := newIP(), newPeer(t, nil)
	route := func(to string) string {
		return fmt.Sprintf("[remote]\nprivate = [\"127.0.0.0/8\"]\n[[route]]\ndomain = \"moved.test\"\nvia = \"%s:25\"\n", to)
	}
	s := start(t, "reload.test", route(dead))
	reload := func(want string) {
		t.Helper()
		before := strings.Count(s.log.String(), want)
		s.cmd.Process.Signal(syscall.SIGHUP)
		await(t, func() string {
			if strings.Count(s.log.String(), want) > before {
				return ""
			}
			return fmt.Sprintf("no %q in\n%s", want, s.log)
		})
	}
	old := s.signIn(t, s.address())
	id := old.mail("<"+s.address()+">", []string{"<x@moved.test>"}, letter(s.address(), "stuck"))
	await(t, func() string {
		if list := s.queue(); len(list) != 1 || !strings.Contains(list[0].Recipients[0].Reason, "refused") {
			return fmt.Sprintf("not stuck: %+v", list)
		}
		return ""
	})
	old.say("MAIL FROM:<"+s.address()+"> SIZE=100000", "250")

	s.configure("[limits]\nmessage_size = \"64KiB\"\n" + route(alive.addr))
	reload("were read again")
	if d := alive.gets(t, 1)[0]; !strings.Contains(d.data, "Subject: stuck") {
		t.Errorf("message %s arrived as %q", id, d.data)
	}
	old.say("RCPT TO:<"+s.address()+">", "250")
	old.say("DATA", "354")
	old.send(letter(s.address(), "old session") + strings.Repeat("x\r\n", 30_000) + ".\r\n")
	old.expect("250")
	s.arrives(s.address(), "old session")
	if hello := s.dial(t, "25").say("EHLO client.test", "250"); !strings.Contains(hello, "SIZE 65536\n") {
		t.Errorf("a new session offers %s", hello)
	}

	s.configure("[limits]\nmessage_sise = \"1MiB\"\n")
	reload("is not taken over")
	if hello := s.dial(t, "25").say("EHLO client.test", "250"); !strings.Contains(hello, "SIZE 65536\n") {
		t.Errorf("after a fault a new session offers %s", hello)
	}
	old.say("NOOP", "250")
}

// SIGTERM lets a message that is being sent be finished and waits for nobody
// longer than the drain takes, here a client and a server that hang.
func TestDrain(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	defer close(hang)
	slow := newPeer(t, func(command string) string {
		if command == "." {
			<-hang
		}
		return ""
	})
	s := start(t, "drain.test", slow.route("slow.test")+"[remote]\nprivate = [\"127.0.0.0/8\"]\n")
	begin := func(account string) *client {
		c := s.signIn(t, s.address())
		c.say("MAIL FROM:<"+s.address()+">", "250")
		c.say("RCPT TO:"+account, "250")
		c.say("DATA", "354")
		return c
	}
	idle := s.world(t)
	s.signIn(t, s.address()).mail("<"+s.address()+">", []string{"<x@slow.test>"}, letter(s.address(), "slow"))
	await(t, func() string {
		if list := s.queue(); len(list) != 1 || !strings.Contains(list[0].Recipients[0].Reason, "being delivered now") {
			return fmt.Sprintf("not on its way: %+v", list)
		}
		return ""
	})
	busy, stuck := begin("<"+s.address()+">"), begin("<"+s.address()+">")
	stuck.send("Subject: never\r\n\r\n")
	busy.send(letter(s.address(), "in time"))

	began := time.Now()
	s.cmd.Process.Signal(syscall.SIGTERM)
	idle.expect("421")
	idle.closed()
	if c, _, err := connect(s.ip, "25"); err == nil {
		c.conn.Close()
		t.Error("a new client is let in")
	}
	busy.send(".\r\n")
	busy.expect("250")
	busy.expect("421")
	select {
	case err := <-s.ended:
		if err != nil {
			t.Errorf("it ended with %v\n%s", err, s.log)
		}
	case <-time.After(25 * time.Second):
		t.Fatalf("it has not ended after 25 s:\n%s", s.log)
	}
	s.cmd = nil
	if took := time.Since(began); took < 15*time.Second {
		t.Errorf("it waited only %v for those who hang", took)
	}
	// What was promised is there: in the mailbox or at the next start.
	s.serve()
	s.arrives(s.address(), "in time")
	if list := s.queue(); len(list) != 1 || list[0].Recipients[0].To != "x@slow.test" {
		t.Errorf("still to be sent: %+v", list)
	}
}

// A full mailbox refuses what does not fit, while the sender can hear it; what
// was taken before it was full waits until there is room.
func TestQuota(t *testing.T) {
	t.Parallel()
	s := start(t, "quota.test", "")
	s.gatepost("account", "set", s.address(), "--quota", "20KiB")
	large := letter("x@remote.test", "large") + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 250)
	c := s.world(t)
	c.say("MAIL FROM:<x@remote.test> SIZE=30000", "250")
	c.say("RCPT TO:<"+s.address()+">", "452 4.2.2")
	c.say("RSET", "250")
	// Without SIZE, nobody can tell before the end.
	c.mail("<x@remote.test>", []string{"<" + s.address() + ">"}, large)
	s.arrives(s.address(), "large")
	c.mail("<x@remote.test>", []string{"<" + s.address() + ">"}, strings.Replace(large, "large", "larger", 1))
	await(t, func() string {
		list := s.queue()
		if len(list) == 1 && strings.Contains(list[0].Recipients[0].Reason, "the mailbox of anna@quota.test is full") {
			return ""
		}
		return fmt.Sprintf("not put off: %+v", list)
	})
	s.gatepost("account", "set", s.address(), "--quota", "1MiB")
	s.gatepost("queue", "retry", "all")
	s.arrives(s.address(), "larger")
	s.settles()
}

// An account that was taken over does not send to the whole world.
func TestDailyLimit(t *testing.T) {
	t.Parallel()
	p := newPeer(t, nil)
	s := start(t, "limit.test", p.route("remote.test")+"[remote]\nprivate = [\"127.0.0.0/8\"]\n[limits]\nsending_per_day = 5\n")
	s.account("ben@limit.test")
	s.gatepost("account", "set", s.address(), "--sending-per-day", "3")
	send := func(account string, recipients int) string {
		var to []string
		for i := range recipients {
			to = append(to, fmt.Sprintf("<x%d@remote.test>", i))
		}
		reply, err := s.signIn(t, account).transact("<"+account+">", to, letter(account, "news"))
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	for _, step := range []struct {
		account    string
		recipients int
		want       string
	}{
		{s.address(), 2, "250"}, {s.address(), 2, "452 4.7.1"}, {s.address(), 1, "250"}, {s.address(), 1, "452 4.7.1"},
		{"ben@limit.test", 5, "250"}, {"ben@limit.test", 1, "452 4.7.1"},
	} {
		if got := send(step.account, step.recipients); !strings.HasPrefix(got, step.want) {
			t.Errorf("%s to %d more: %s, want %s", step.account, step.recipients, got, step.want)
		}
	}
	s.settles()
	if got := p.deliveries(); len(got) != 3 {
		t.Errorf("%d messages left", len(got))
	}
}

// A fault in the file is refused by every command, with its line.
func TestConfigFaults(t *testing.T) {
	t.Parallel()
	s := install(t, "faults.test", "")
	for text, want := range map[string]string{
		"[limits]\nmessage_sise = \"1MiB\"\n":           "gatepost.toml:12: ", // the file has 10 lines before
		"[limits]\n\nrecipients = \"many\"\n":           "gatepost.toml:13: ",
		"[[route]]\ndomain = \"x.test\"\nvia = 25\n":    "gatepost.toml:13: ",
		"[remote]\nprivate = [\"127.0.0.0/8\"\n":        "gatepost.toml:1",
		"[[route]]\ndomain = \"x.test\"\ntls = \"yes\"": "gatepost.toml:1",
	} {
		s.configure(text)
		for _, command := range [][]string{{"serve"}, {"check"}, {"queue", "list"}, {"account", "list"}} {
			out, err := exec.Command(binary, append(command, "--config", s.config)...).CombinedOutput()
			if err == nil || !strings.Contains(string(out), want) || strings.Count(string(out), "\n") != 1 {
				t.Errorf("%q, %s: %v, %s", text, command, err, out)
			}
		}
	}
}
