package store

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A full disk, as far as one can be made without being root: the process may
// not let a file grow any further, so that the commit itself fails. It runs
// in a process of its own, since the limit holds for all of it.
func TestCommitFails(t *testing.T) {
	t.Parallel()
	if os.Getenv("GATEPOST_STORE_FULL") != "" {
		full(t)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestCommitFails$", "-test.v")
	cmd.Env = append(os.Environ(), "GATEPOST_STORE_FULL=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func full(t *testing.T) {
	o := testOptions(t)
	var log bytes.Buffer
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	db := reopen(t, o)
	if err := db.Update(context.Background(), addDomain("before.example")); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(unix.SIGXFSZ)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(o.Path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	small := limit
	small.Cur = uint64(info.Size() + 6000) // one page and a half of the log
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &small); err != nil {
		t.Fatal(err)
	}

	var list []func(*Tx) error
	for i := range 10 {
		list = append(list, addDomain(fmt.Sprintf("%s%d.example", strings.Repeat("x", 4000), i)))
	}
	for i, err := range together(t, db, list...) {
		if err == nil {
			t.Errorf("closure %d of a commit that failed: no error", i)
		} else {
			t.Logf("closure %d: %v", i, err)
		}
	}
	if err := db.Update(context.Background(), list[0]); err == nil {
		t.Error("there is room without a change")
	}
	if got := domains(t, db); got != "before.example" {
		t.Errorf("after the failure: %q", got)
	}

	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := db.Update(context.Background(), addDomain("since.example")); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	said := strings.Count(log.String(), "level=ERROR")
	if said != 1 || !strings.Contains(log.String(), "the store can commit again") {
		t.Errorf("a fault that lasted is told %d times, and its end:\n%s", said, &log)
	}
	if got := domains(t, reopen(t, o)); got != "before.example since.example" {
		t.Errorf("after opening again: %q", got)
	}
}
