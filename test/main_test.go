// Package test holds the end-to-end cases: the real binary against real
// clients and servers, in a network namespace of its own, where ports 25 and
// 53 are free, 127.0.0.0/8 are as many hosts as one likes, and nothing can
// leave the machine.
package test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inside marks the process that runs within the namespace.
const inside = "GATEPOST_TEST_NAMESPACE"

// binary is the gatepost under test.
var binary string

func TestMain(m *testing.M) {
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin") // where Debian has servers
	if os.Getenv(inside) == "" {
		os.Exit(enter())
	}
	crowd()
	if err := furnish(); err != nil {
		fmt.Fprintln(os.Stderr, "test: cannot furnish the namespace:", err)
		os.Exit(1)
	}
	code := m.Run()
	for _, stop := range stops {
		stop()
	}
	os.Exit(code)
}

// crowd lets more cases run at a time than there are processors, since they
// mostly wait. Who says -parallel knows better.
func crowd() {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		flag.Set("test.parallel", "8")
	}
}

// enter runs this program again in namespaces of its own: of the network, of
// mounts, and of processes, so that no server outlives the cases, however
// these end.
func enter() int {
	args := []string{"--net", "--mount", "--pid", "--fork", "--kill-child"}
	if os.Getuid() != 0 {
		args = append(args, "--user", "--map-root-user")
	}
	// Where /proc cannot be mounted, cases that look at processes are left out.
	if exec.Command("unshare", append(args, "--mount-proc", "true")...).Run() == nil {
		args = append(args, "--mount-proc")
	}
	if out, err := exec.Command("unshare", append(args, "true")...).CombinedOutput(); err != nil {
		fmt.Printf("no namespaces here: %v %s\n--- SKIP: every end-to-end case: this user may not make a network namespace\n", err, out)
		return 0
	}
	cmd := exec.Command("unshare", append(append(args, "--"), os.Args...)...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", inside, os.Getuid()))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	runtime.LockOSThread() // whose end is the signal
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		if e, ok := err.(*exec.ExitError); ok {
			return e.ExitCode()
		}
		fmt.Fprintln(os.Stderr, "test:", err)
		return 1
	}
	return 0
}

// stops are what is to be ended after the last case.
var stops []func()

// furnish brings up loopback and finds or builds the binary.
func furnish() error {
	// What is unmounted here goes from the namespaces of peers too, or a disk
	// that was cut off would live on there.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		fmt.Println("test: mounts are not shared with peers:", err)
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("loopback: %w: %s", err, out)
	}
	if binary = os.Getenv("GATEPOST"); binary != "" {
		return nil
	}
	dir, err := os.MkdirTemp("", "gatepost-test-")
	if err != nil {
		return err
	}
	stops = append(stops, func() { os.RemoveAll(dir) })
	binary = filepath.Join(dir, "gatepost")
	cmd := exec.Command("go", "build", "-o", binary, "gatepost/cmd/gatepost")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w: %s", err, out)
	}
	return nil
}

// realRoot reports whether the tests were started by root, not only mapped to
// it: peers that change their user need that.
func realRoot() bool { return os.Getenv(inside) == "0" }

// need skips a case that needs a program which is not here.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
}

// needRoot skips a case whose peer must be started by root.
func needRoot(t *testing.T, peer string) {
	t.Helper()
	if !realRoot() {
		t.Skipf("%s can only be started by root", peer)
	}
}

// patience is how long a condition may take to come true.
const patience = 2 * time.Minute

// await waits until holds says nothing any more; what it says is the failure.
func await(t *testing.T, holds func() string) {
	t.Helper()
	awaitFor(t, patience, holds)
}

func awaitFor(t *testing.T, limit time.Duration, holds func() string) {
	t.Helper()
	var missing string
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if missing = holds(); missing == "" {
			return
		}
	}
	t.Fatalf("after %v: %s", limit, missing)
}

// run runs a program and returns what it printed; it must succeed.
func run(t *testing.T, stdin string, name string, args ...string) string {
	t.Helper()
	out, err := try(stdin, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func try(stdin string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
