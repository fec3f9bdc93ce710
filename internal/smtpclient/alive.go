package smtpclient

import (
	"syscall"
)

// Alive reports whether a connection that was kept can be used again, as far
// as can be told without asking the server: it has not hung up, and it has
// said nothing. What it said would be an answer to no question.
func (c *Conn) Alive() bool {
	if !c.Usable() || c.wait(atMail) != nil {
		return false
	}
	socket, ok := c.raw.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = raw.Read(func(fd uintptr) bool {
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = err == syscall.EAGAIN
		return true
	})
	return err == nil && quiet
}
