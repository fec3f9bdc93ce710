package test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// disk is a file system of a case's own.
type disk struct {
	t     *testing.T
	image string // the file that it is made of; empty: none, it is in memory
	mount string
}

// inMemory mounts a file system that is only in memory.
func inMemory(t *testing.T, size string) string {
	t.Helper()
	needRoot(t, "a file system in memory")
	dir := t.TempDir()
	if out, err := try("", "mount", "-t", "tmpfs", "-o", "mode=700,size="+size, "test", dir); err != nil {
		t.Skipf("no file system in memory can be mounted here: %s", out)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// diskSize is the least that mkfs.xfs takes, and some more. The image is
// sparse, and in memory: it is there to lose what was not synced, at the
// speed of a good disk.
const diskSize = 320 << 20

// newDisk makes a file system and mounts it; options are those of mount.
func newDisk(t *testing.T, mkfs []string, options string) *disk {
	t.Helper()
	need(t, mkfs[0], "mount")
	memory := inMemory(t, "1g")
	d := &disk{t: t, image: filepath.Join(memory, "image"), mount: filepath.Join(memory, "mount")}
	f, err := os.Create(d.image)
	if err := errors.Join(err, f.Truncate(diskSize), f.Close(), os.Mkdir(d.mount, 0o700)); err != nil {
		t.Fatal(err)
	}
	run(t, "", mkfs[0], append(mkfs[1:], d.image)...)
	if out, err := try("", "mount", "-o", "loop,"+options, d.image, d.mount); err != nil {
		t.Skipf("no loop device can be mounted here: %s", strings.TrimSpace(out))
	}
	t.Cleanup(func() { unix.Unmount(d.mount, unix.MNT_DETACH) })
	return d
}

// again takes the disk away from whoever has it and mounts it anew, as after
// a power cut: the journal of the file system is replayed.
func (d *disk) again(image string) {
	d.t.Helper()
	await(d.t, func() string {
		if err := unix.Unmount(d.mount, 0); err != nil {
			return fmt.Sprintf("unmount: %v", err)
		}
		return ""
	})
	run(d.t, "", "mount", "-o", "loop", image, d.mount)
}

// sync makes durable what was set up without asking for it.
func (d *disk) sync() {
	d.t.Helper()
	f, err := os.Open(d.mount)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		d.t.Fatal(err)
	}
}

// cut is the "shutdown" of xfs_io, XFS_IOC_GOINGDOWN or EXT4_IOC_SHUTDOWN:
// from now on nothing gets to the disk, not even what only waits for it.
func (d *disk) cut() {
	d.t.Helper()
	const goingDown, noLogFlush = 0x8004587d, 2
	f, err := os.Open(d.mount)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	flags := uint32(noLogFlush)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), goingDown, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		d.t.Fatalf("cutting the disk off: %v", errno)
	}
}

// A disk is cut off while 20 clients send, mounted again, and used again:
// what was acknowledged is there once. The disk forgets what was not synced
// (shutdown), or is found as its image was at one moment (image).
func TestDiskCut(t *testing.T) {
	t.Parallel()
	ext4 := []string{"mkfs.ext4", "-q", "-F"}
	xfs := []string{"mkfs.xfs", "-q", "-f"}
	for name, c := range map[string]struct {
		mkfs    []string
		options string
		cut     func(d *disk, s *server)
	}{
		"ext4, shutdown": {ext4, "rw", shutdown},
		"xfs, shutdown":  {xfs, "rw", shutdown},
		// Nothing is to be written while the image is copied: no commit of
		// the journal by its clock.
		"ext4, image": {ext4, "commit=300", imaged},
		"xfs, image":  {xfs, "rw", imaged},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDisk(t, c.mkfs, c.options)
			s, book := installBooked(t, d.mount, "")
			book.excuse = "452 4.3.1" // while nothing gets to the disk
			d.sync()
			for round := range 2 {
				s.busy(t, book, fmt.Sprintf("d%d", round), func() { c.cut(d, s) })
			}
			s.balance(t, book)
			s.kill()
		})
	}
}

// shutdown cuts the disk off below the server, which ends a little later.
func shutdown(d *disk, s *server) {
	d.cut()
	s.kill()
	d.again(d.image)
}

// imaged goes on with what the image was at one moment.
func imaged(d *disk, s *server) {
	s.freeze()
	later := d.image + "'"
	run(d.t, "", "cp", "--sparse=always", d.image, later)
	s.kill()
	d.again(later)
	if err := os.Remove(d.image); err != nil {
		d.t.Fatal(err)
	}
	d.image = later
}

// freeze stops every thread of the server, wherever it is.
func (s *server) freeze() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(unix.SIGSTOP); err != nil {
		s.t.Fatal(err)
	}
	await(s.t, func() string {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", s.cmd.Process.Pid))
		if err != nil || len(threads) == 0 {
			return "the server has no threads"
		}
		for _, thread := range threads {
			if b, err := os.ReadFile(thread); err == nil && !strings.Contains(string(b), ") T ") {
				return "a thread goes on: " + string(b)
			}
		}
		return ""
	})
}

// ballast fills a disk to the last block.
func (d *disk) ballast() (drop func()) {
	d.t.Helper()
	f, err := os.Create(filepath.Join(d.mount, "ballast"))
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(block)
	}
	if !errors.Is(err, unix.ENOSPC) {
		d.t.Fatal(err)
	}
	return func() {
		if err := os.Remove(f.Name()); err != nil {
			d.t.Fatal(err)
		}
	}
}

// While the disk is full mail is refused for now, and what is taken all the
// same has a copy; when there is room again mail is taken again, by itself.
// The server may also be killed in between, and starts on the full disk.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	d := &disk{t: t, mount: inMemory(t, "24m")}
	s, book := installBooked(t, d.mount, "[limits]\nsegment_size = \"1MiB\"\ninline_body = \"64KiB\"\n")
	s.serve()
	for round, killed := range []bool{false, true} {
		n := 0
		c := s.world(t)
		send := func() (taken bool) {
			t.Helper()
			n++
			token := fmt.Sprintf("f%d.%d", round, n)
			book.sends(token, append(boxes, sinkBox))
			var paths []string
			for _, box := range append(boxes, sinkBox) {
				paths = append(paths, "<"+box+">")
			}
			reply, err := c.transact("<x@remote.test>", paths, book.content(token))
			switch {
			case err == nil && strings.HasPrefix(reply, "250 2.0.0"):
				book.acknowledges(token)
				return true
			case err == nil && strings.HasPrefix(reply, "452 4.3.1"):
				book.forbids(token)
				c.say("RSET", "250")
				return false
			}
			t.Fatalf("%s: %q, %v\n%s", token, reply, err, s.log)
			return false
		}
		for range 20 {
			if !send() {
				t.Fatal("refused while there is room")
			}
		}
		drop := d.ballast()
		refused := 0
		for deadline := time.Now().Add(patience); refused < 20; {
			if !send() {
				refused++
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d messages, and the full disk takes more", n)
			}
		}
		if killed {
			s.kill()
			s.serve()
			c = s.world(t)
		}
		drop()
		await(t, func() string {
			if !send() {
				return "refused though there is room again"
			}
			return ""
		})
	}
	s.balance(t, book)
}
