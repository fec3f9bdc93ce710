package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// faults are what befalls the server.
type faults struct {
	s      *server
	hops   []*hop
	book   *ledger
	only   *regexp.Regexp
	random *rand.Rand
	count  map[string]int
}

// kinds are all faults; each returns when it is over and the server runs.
func (f *faults) kinds() map[string]func() error {
	kinds := map[string]func() error{
		"kill -9":                   f.killed,
		"SIGTERM":                   f.stopped,
		"SIGHUP":                    f.hangup,
		"disk full":                 f.full,
		"disk full, kill -9":        f.fullAndKilled,
		"a next hop down":           f.hopDown,
		"all next hops down":        f.hopsDown,
		"power cut":                 f.cut,
		"fsync and fdatasync: EIO":  f.unsynced("EIO"),
		"writes to the disk: EIO":   f.failing("pwrite64,ftruncate", "EIO"),
		"renames and opens: ENOSPC": f.failing("rename,renameat,renameat2,openat", "ENOSPC"),
	}
	if f.s.image == "" {
		delete(kinds, "power cut")
	}
	if _, err := exec.LookPath("strace"); err != nil {
		maps.DeleteFunc(kinds, func(name string, _ func() error) bool { return strings.Contains(name, ": E") })
	}
	maps.DeleteFunc(kinds, func(name string, _ func() error) bool { return !f.only.MatchString(name) })
	return kinds
}

// befall lets one fault follow the other until ctx ends. After each, mail
// must be taken again.
func (f *faults) befall(ctx context.Context) error {
	kinds := f.kinds()
	names := slices.Sorted(maps.Keys(kinds))
	for {
		pause(ctx, f.between(500*time.Millisecond, 4*time.Second))
		if ctx.Err() != nil {
			return f.s.alive()
		}
		name := names[f.random.IntN(len(names))]
		f.count[name]++
		err := kinds[name]()
		if err == nil {
			err = f.recovers()
		}
		if err != nil {
			return fmt.Errorf("after %q: %w", name, err)
		}
		if _, err := f.s.run("queue", "retry", "all"); err != nil {
			return fmt.Errorf("after %q: %w", name, err)
		}
	}
}

// recovers waits until mail is taken again.
func (f *faults) recovers() error {
	before := f.book.acks.Load()
	for deadline := time.Now().Add(2 * patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if f.book.acks.Load() > before {
			return f.s.alive()
		}
	}
	f.s.cmd.Process.Signal(syscall.SIGQUIT) // its log shows where it hangs
	<-f.s.ended
	f.s.cmd = nil
	return fmt.Errorf("no mail is taken for %v", 2*patience)
}

func (f *faults) between(low, high time.Duration) time.Duration {
	return low + time.Duration(f.random.Int64N(int64(high-low)))
}

// hold lets a fault last for a while.
func (f *faults) hold(low, high time.Duration) { time.Sleep(f.between(low, high)) }

// kill kills the server once those who were refused know it.
func (f *faults) kill() error {
	if err := f.s.kill(); err != nil {
		return err
	}
	time.Sleep(50 * time.Millisecond)
	f.book.killed()
	return nil
}

func (f *faults) killed() error {
	if err := f.kill(); err != nil {
		return err
	}
	f.hold(0, 500*time.Millisecond)
	return f.s.start()
}

func (f *faults) stopped() error {
	if err := f.s.stop(); err != nil {
		return err
	}
	return f.s.start()
}

func (f *faults) hangup() error { return f.s.cmd.Process.Signal(syscall.SIGHUP) }

func (f *faults) full() error {
	if err := f.s.fill(); err != nil {
		return err
	}
	f.hold(time.Second, 5*time.Second)
	return f.s.empty()
}

// fullAndKilled has the server start again on a disk that is still full. It
// may refuse to, but not lose anything over it.
func (f *faults) fullAndKilled() error {
	if err := f.s.fill(); err != nil {
		return err
	}
	f.hold(500*time.Millisecond, 3*time.Second)
	if err := f.kill(); err != nil {
		return err
	}
	err := f.s.start()
	if err == nil {
		f.hold(500*time.Millisecond, 2*time.Second)
		return f.s.empty()
	}
	f.count["(no start while full)"]++
	if err := f.s.empty(); err != nil {
		return err
	}
	return f.s.start()
}

func (f *faults) hopDown() error { return f.without(f.hops[f.random.IntN(len(f.hops)):][:1]) }

func (f *faults) hopsDown() error { return f.without(f.hops) }

func (f *faults) without(hops []*hop) error {
	for _, h := range hops {
		h.down()
	}
	f.hold(time.Second, 4*time.Second)
	for _, h := range hops {
		if err := h.up(); err != nil {
			return err
		}
	}
	return nil
}

func (f *faults) cut() error {
	if err := f.s.cut(); err != nil {
		return err
	}
	f.hold(0, 200*time.Millisecond) // the server sees that nothing works any more
	if err := f.kill(); err != nil {
		return err
	}
	if err := f.s.repair(); err != nil {
		return err
	}
	return f.s.start()
}

// unsynced has every sync fail for a while, and sometimes the process dies of
// it.
func (f *faults) unsynced(errno string) func() error {
	return f.failing("fsync,fdatasync", errno)
}

// failing has system calls fail for a while: every one of them or every
// seventh, so that some operations break in the middle.
func (f *faults) failing(calls, errno string) func() error {
	return func() error {
		when := []string{"", ":when=3+7"}[f.random.IntN(2)]
		if strings.Contains(calls, "openat") {
			when = ":when=3+7" // not even /proc could be read
		}
		cmd := exec.Command("strace", "-f", "-qq", "-o", "/dev/null", "-p", strconv.Itoa(f.s.cmd.Process.Pid),
			"-e", "trace="+calls, "-e", "inject="+calls+":error="+errno+when)
		if err := cmd.Start(); err != nil {
			return err
		}
		f.hold(time.Second, 3*time.Second)
		dies := f.random.IntN(3) == 0
		if dies {
			if err := f.kill(); err != nil {
				return err
			}
		}
		cmd.Process.Signal(syscall.SIGINT)
		cmd.Wait()
		if dies {
			return f.s.start()
		}
		return nil
	}
}

func (f *faults) String() string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(f.count)) {
		list = append(list, fmt.Sprintf("%d × %s", f.count[name], name))
	}
	var text strings.Builder
	for chunk := range slices.Chunk(list, 4) {
		fmt.Fprintf(&text, "  %s\n", strings.Join(chunk, ", "))
	}
	return text.String()
}
