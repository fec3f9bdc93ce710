package daemon

import "golang.org/x/sys/unix"

// monotonic returns the time that systemd compares reloads by, in
// microseconds: sd_notify(3), MONOTONIC_USEC.
func monotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return t.Nano() / 1000
}
