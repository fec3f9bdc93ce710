package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// trace attaches strace to the server and returns once it sees every thread.
// detach ends it; the server goes on.
func (s *server) trace(t *testing.T, args ...string) (detach func()) {
	t.Helper()
	need(t, "strace")
	if self, err := os.Readlink("/proc/self"); err != nil || self != strconv.Itoa(os.Getpid()) {
		t.Skip("/proc cannot be mounted here, which strace needs")
	}
	said := &transcript{}
	cmd := exec.Command("strace", append([]string{"-f", "-p", strconv.Itoa(s.cmd.Process.Pid)}, args...)...)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := sync.OnceFunc(func() {
		cmd.Process.Signal(syscall.SIGINT)
		cmd.Wait()
	})
	t.Cleanup(end)
	await(t, func() string {
		if strings.Contains(said.String(), "attached") {
			return ""
		}
		return "strace: " + said.String()
	})
	return end
}

// Every "250" after a message follows a sync that began after the last of it
// was written: to the log, and to a file of its own if it is large.
func TestSyncBeforeReply(t *testing.T) {
	t.Parallel()
	s := start(t, "sync.test", "")
	file := filepath.Join(t.TempDir(), "trace")
	detach := s.trace(t, "-y", "-s", "200000", "-o", file, "-e", "trace=pwrite64,fsync,fdatasync,renameat,renameat2,rename,write,writev,sendto,sendmsg")

	const clients, each = 8, 5
	ids := make([][]string, clients)
	var group sync.WaitGroup
	for i := range clients {
		c := s.world(t)
		group.Go(func() {
			for k := range each {
				content := letter("x@remote.test", fmt.Sprintf("small %d %d", i, k))
				if reply, err := c.transact("<x@remote.test>", []string{"<" + s.address() + ">"}, content); err == nil {
					ids[i] = append(ids[i], strings.TrimPrefix(reply, "250 2.0.0 queued as "))
				}
			}
		})
	}
	group.Wait()
	large := s.world(t).mail("<x@remote.test>", []string{"<" + s.address() + ">"},
		letter("x@remote.test", "large")+strings.Repeat(strings.Repeat("x", 98)+"\r\n", 5000))
	detach()

	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	calls := readTrace(string(b))
	for i := range ids {
		if len(ids[i]) != each {
			t.Errorf("client %d: %d of %d messages were taken", i, len(ids[i]), each)
		}
		for _, id := range ids[i] {
			if fault := unsynced(calls, id, false); fault != "" {
				t.Errorf("%s: %s", id, fault)
			}
		}
	}
	if fault := unsynced(calls, large, true); fault != "" {
		t.Errorf("the large message %s: %s", large, fault)
	}
}

// traced is a system call in a trace.
type traced struct {
	name, args   string
	path         string // of the file that it is about
	entry, exit  int    // lines: one call was over before another began if its exit is less than the other's entry
	failed, over bool
}

var (
	traceLine   = regexp.MustCompile(`^(\d+) +(?:<\.\.\. (\w+) resumed>(.*)|(\w+)\((.*))$`)
	traceResult = regexp.MustCompile(`\) += (-?\d+)[^"]*$`)
	tracePath   = regexp.MustCompile(`^\d+<([^>]*)>`)
)

// readTrace reads what strace -f -y has written.
func readTrace(text string) []*traced {
	var calls []*traced
	open := map[string]*traced{} // by thread
	for n, line := range strings.Split(text, "\n") {
		m := traceLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		thread, rest := m[1], m[3]
		c := open[thread]
		if m[4] != "" {
			c = &traced{name: m[4], args: m[5], entry: n}
			if p := tracePath.FindStringSubmatch(c.args); p != nil {
				c.path = p[1]
			}
			calls = append(calls, c)
			open[thread], rest = c, m[5]
		}
		if r := traceResult.FindStringSubmatch(rest); r != nil && c != nil {
			c.exit, c.over, c.failed = n, true, strings.HasPrefix(r[1], "-")
			delete(open, thread)
		}
	}
	return calls
}

// unsynced says how a reply to a message came too early, if it did.
func unsynced(calls []*traced, id string, large bool) string {
	var reply, record, name *traced
	for _, c := range calls {
		switch {
		case strings.Contains(c.args, "250 2.0.0 queued as "+id):
			reply = c
		case reply == nil && c.name == "pwrite64" && strings.HasSuffix(c.path, ".seg") && strings.Contains(c.args, id):
			record = c
		case strings.HasPrefix(c.name, "rename") && strings.Contains(c.args, "/"+id+`"`):
			name = c
		}
	}
	switch {
	case reply == nil:
		return "there is no reply in the trace"
	case record == nil:
		return "nothing was written to the log before the reply"
	case !synced(calls, record, reply, record.path):
		return "the log was not synced between its record and the reply"
	case !large:
		return ""
	case name == nil || name.exit > record.entry:
		return "the body has no name when the log speaks of it"
	}
	quoted := strings.Split(name.args, `"`)
	old, dir := quoted[1], filepath.Dir(quoted[3])
	var last *traced
	for _, c := range calls {
		if c.name == "pwrite64" && c.path == old && c.entry < name.entry {
			last = c
		}
	}
	switch {
	case last == nil:
		return "the body was not written to " + old
	case !synced(calls, last, name, old):
		return "the body was not synced before it got its name"
	case !synced(calls, name, record, dir):
		return "the name of the body was not synced before the log spoke of it"
	}
	return ""
}

// synced reports whether a file was synced after one call was over and before
// another began.
func synced(calls []*traced, after, before *traced, path string) bool {
	for _, c := range calls {
		if (c.name == "fdatasync" || c.name == "fsync") && c.path == path && c.over && !c.failed &&
			after.over && after.exit < c.entry && c.exit < before.entry {
			return true
		}
	}
	return false
}

// The judge of traces sees what is wrong with one.
func TestUnsynced(t *testing.T) {
	t.Parallel()
	const (
		write  = `7 pwrite64(5</d/0001.seg>, "\0id M1 for"..., 4096, 0) = 4096`
		begin  = `7 pwrite64(5</d/0001.seg>, "\0id M1 for"..., 4096, 0 <unfinished ...>`
		end    = `7 <... pwrite64 resumed>) = 4096`
		sync   = `8 fdatasync(5</d/0001.seg>) = 0`
		syncs  = `8 fdatasync(5</d/0001.seg> <unfinished ...>`
		synced = `8 <... fdatasync resumed>) = 0`
		failed = `8 fdatasync(5</d/0001.seg>) = -1 EIO (Input/output error) (INJECTED)`
		other  = `8 fdatasync(6</d/0002.seg>) = 0`
		reply  = `9 write(7<socket:[1]>, "250 2.0.0 queued as M1\r\n", 24) = 24`
	)
	for _, c := range []struct {
		lines string
		good  bool
	}{
		{strings.Join([]string{write, sync, reply}, "\n"), true},
		{strings.Join([]string{begin, end, syncs, synced, reply}, "\n"), true},
		{strings.Join([]string{write, failed, sync, reply}, "\n"), true},
		{strings.Join([]string{sync, write, reply}, "\n"), false},
		{strings.Join([]string{write, reply, sync}, "\n"), false},
		{strings.Join([]string{write, failed, reply}, "\n"), false},
		{strings.Join([]string{write, other, reply}, "\n"), false},
		{strings.Join([]string{begin, syncs, end, synced, reply}, "\n"), false},
		{strings.Join([]string{write, syncs, reply, synced}, "\n"), false},
		{strings.Join([]string{write, sync, write, reply}, "\n"), false},
		{strings.Join([]string{write, sync}, "\n"), false},
		{strings.Join([]string{sync, reply}, "\n"), false},
	} {
		if fault := unsynced(readTrace(c.lines), "M1", false); (fault == "") != c.good {
			t.Errorf("says %q of\n%s", fault, c.lines)
		}
	}
}

// While nothing can be synced nothing is promised, and the server lives on.
// Once it can again all is well, and of what was refused nothing comes back.
func TestSyncFails(t *testing.T) {
	t.Parallel()
	s := start(t, "eio.test", "")
	c := s.world(t)
	send := func(subject string) string {
		t.Helper()
		reply, err := c.transact("<x@remote.test>", []string{"<" + s.address() + ">"}, letter("x@remote.test", subject))
		if err != nil {
			t.Fatalf("%s: %q, %v\n%s", subject, reply, err, s.log)
		}
		return reply
	}
	expected := map[string]bool{}
	expect := func(subject string) {
		t.Helper()
		if reply := send(subject); !strings.HasPrefix(reply, "250") {
			t.Errorf("%s: %s", subject, reply)
		}
		expected[subject] = true
	}
	expect("before")
	for round := range 3 {
		detach := s.trace(t, "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO")
		for i := range 5 {
			if reply := send(fmt.Sprintf("refused %d %d", round, i)); !strings.HasPrefix(reply, "452 4.3.1") {
				t.Errorf("with no sync it says %s", reply)
			}
			c.say("RSET", "250")
		}
		detach()
		for i := range 5 {
			expect(fmt.Sprintf("taken %d %d", round, i))
		}
	}
	s.settlesSoon()
	check := func() {
		t.Helper()
		found := map[string]int{}
		for _, m := range s.inbox(s.address()) {
			found[m.Subject]++
			if !expected[m.Subject] {
				t.Errorf("%q was refused, and is here", m.Subject)
			}
		}
		for subject := range expected {
			if found[subject] != 1 {
				t.Errorf("%q is here %d times", subject, found[subject])
			}
		}
	}
	check()
	s.kill()
	s.serve()
	s.settles()
	check()
}

// settlesSoon hurries what was put off, and waits until the queue is empty.
func (s *server) settlesSoon() {
	s.t.Helper()
	await(s.t, func() string {
		list := s.queue()
		if len(list) == 0 {
			return ""
		}
		s.gatepost("queue", "retry", "all")
		return fmt.Sprintf("still queued: %+v", list)
	})
}
