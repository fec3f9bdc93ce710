package wire

import (
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// socketOf returns the socket of a plain TCP connection, also of one that a
// proxy passed on, else nil.
func socketOf(conn net.Conn) syscall.RawConn {
	tcp, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	sock, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	return sock
}

// readSocket reads once from a plain socket. Unlike net.Conn.Read it needs a
// buffer only when there is something to put into it: ten thousand clients
// who say nothing cost ten thousand sessions and no buffers.
func (c *Conn) readSocket() error {
	if err := c.sock.Read(c.try); err != nil {
		return err
	}
	return c.tried
}

// trySocket reads what there is; false says that there is nothing, and to
// call again when there may be.
func (c *Conn) trySocket(fd uintptr) bool {
	c.take()
	n, err := readFD(int(fd), c.in[c.w:])
	if err == syscall.EAGAIN {
		c.release()
		c.tried = c.arm()
		return c.tried != nil
	}
	switch {
	case err != nil:
		c.tried = os.NewSyscallError("read", err)
	case n == 0:
		c.tried = io.EOF
	default:
		c.tried = nil
		c.w += n
	}
	return true
}

// Gone reports whether the client has closed its side of the connection.
// Whether it still reads cannot be known; who asks for something and leaves
// does not.
func (c *Conn) Gone() bool {
	sock := c.sock
	if sock == nil {
		sock = c.under
	}
	gone := false
	if sock == nil || sock.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(p, 0)
		gone = err == nil && n > 0
	}) != nil {
		return false
	}
	return gone
}

// readable reports whether a socket has anything to read, or has ended.
func readable(fd uintptr) bool {
	var p [1]byte
	for {
		_, _, err := syscall.Recvfrom(int(fd), p[:], syscall.MSG_PEEK)
		if err != syscall.EINTR {
			return err != syscall.EAGAIN
		}
	}
}

func readFD(fd int, p []byte) (int, error) {
	for {
		n, err := syscall.Read(fd, p)
		if err != syscall.EINTR {
			return n, err
		}
	}
}
