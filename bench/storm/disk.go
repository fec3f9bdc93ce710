package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// diskSize is more than a soak of an hour fills. The image is sparse, and in
// memory: what others do to the machine's disk must not look like our fault.
const diskSize = 8 << 30

// disk is a file system of the server's own.
type disk struct {
	where  string // for the reader
	memory string // what holds all the rest
	image  string // empty: none
	mount  string
}

// newDisk makes a file system and mounts it below dir.
func newDisk(fs, dir string) (*disk, error) {
	d := &disk{memory: dir, mount: filepath.Join(dir, "mount"), where: fs}
	err := errors.Join(os.Mkdir(dir, 0o700), command("mount", "-t", "tmpfs", "-o", "mode=700", "soak", dir), os.Mkdir(d.mount, 0o700))
	if err != nil {
		return nil, err
	}
	if fs == "tmpfs" {
		return d, command("mount", "-t", "tmpfs", "-o", "mode=700,size=2g", "soak", d.mount)
	}
	d.where += " on a loop device"
	d.image = filepath.Join(dir, "image")
	force := map[string]string{"ext4": "-F", "xfs": "-f"}[fs]
	if force == "" {
		return nil, fmt.Errorf("no file system %q here", fs)
	}
	f, err := os.Create(d.image)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(diskSize), f.Close(), command("mkfs."+fs, "-q", force, d.image)); err != nil {
		return nil, err
	}
	return d, d.attach()
}

func (d *disk) attach() error { return command("mount", "-o", "loop", d.image, d.mount) }

// remove takes the disk away.
func (d *disk) remove() {
	unix.Unmount(d.mount, unix.MNT_DETACH)
	unix.Unmount(d.memory, unix.MNT_DETACH)
}

// goingDown is EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN: the file system
// forgets what was not synced, and nothing can be written any more. What
// xfs_io calls "shutdown" is the same.
const (
	goingDown  = 0x8004587d
	noLogFlush = 2
)

// cut takes the power from the disk.
func (d *disk) cut() error {
	f, err := os.Open(d.mount)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := uint32(noLogFlush)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), goingDown, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		return fmt.Errorf("cutting %s off: %w", d.where, errno)
	}
	return nil
}

// repair mounts a disk again that was cut off; its journal does the rest.
func (d *disk) repair() error {
	var err error
	for range 100 {
		if err = unix.Unmount(d.mount, 0); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	return d.attach()
}

func (d *disk) ballast() string { return filepath.Join(d.mount, "ballast") }

// fill takes all room that there is.
func (d *disk) fill() error {
	f, err := os.OpenFile(d.ballast(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	size := int64(0)
	for step := int64(1 << 30); step >= 4096; {
		switch err := unix.Fallocate(int(f.Fd()), 0, size, step); {
		case err == nil:
			size += step
		case errors.Is(err, unix.ENOSPC):
			step /= 2
		case !errors.Is(err, unix.EINTR):
			return fmt.Errorf("filling the disk: %w", err)
		}
	}
	return nil
}

// empty gives the room back.
func (d *disk) empty() error { return os.Remove(d.ballast()) }

// command runs a command; what it prints goes into the error.
func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}
