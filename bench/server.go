package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// server is one of those that are compared. Between start and stop it takes
// mail for local.test into boxes, and anything else from loopback to hop.
type server interface {
	name() string
	start() error
	stop() error
	pid() int
	at(port int) string // address of a door
	delivered() (int, error)
}

// needs is what a line asks of the servers beyond relaying.
type needs struct {
	accounts int  // userN@local.test, N below it
	world    bool // mail goes where DNS says, not to hop
	guarded  bool // likewise, and the guarded domain's authority is believed
	signed   bool // mail from the world is verified, and that of relayed clients is signed
	forwards bool // likewise, and mail for signedTo goes on, signed or sealed
}

// password of every account.
const password = "correct horse battery staple"

func account(n int) string { return fmt.Sprintf("user%d@local.test", n) }

// place is where a server keeps its files, and its main process.
type place struct {
	b   *bench
	dir string
	cmd *exec.Cmd

	names *names // if it is the server that they are for
}

func (p *place) make(name string) (err error) {
	settle()
	if p.dir, err = os.MkdirTemp(filepath.Dir(p.b.gatepost), name+"-"); err == nil {
		err = os.Chmod(p.dir, 0o755)
	}
	return err
}

func (p *place) remove() {
	if p.dir != "" && !p.b.keep {
		os.RemoveAll(p.dir)
	}
	syscall.Sync()
}

func (p *place) pid() int { return p.cmd.Process.Pid }

// command runs a command; what it prints goes into the error.
func command(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

// end asks a process to end, and waits.
func end(cmd *exec.Cmd, sig syscall.Signal) error {
	if cmd == nil || cmd.Process == nil {
		return nil
	}
	if err := cmd.Process.Signal(sig); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-time.After(patience):
		cmd.Process.Kill()
		return fmt.Errorf("%s does not end", cmd.Path)
	}
}
