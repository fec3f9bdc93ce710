package control

import (
	"context"
	"fmt"
	"net"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"

	"gatepost/internal/activity"
)

// By returns a context for what a user of this machine asks for, so that the
// log of activity names them.
func By(ctx context.Context, uid int) context.Context {
	who := fmt.Sprintf("uid %d", uid)
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		who = "user " + u.Username
	}
	return activity.By(ctx, activity.Client{Protocol: activity.Command, Operator: who})
}

// asks returns By for the other end of a call: what the kernel says of the
// process that connected (SO_PEERCRED of unix(7)), not what it says of itself.
func asks(ctx context.Context, conn net.Conn) context.Context {
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *unix.Ucred
	if raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }) != nil || err != nil {
		return ctx
	}
	return By(ctx, int(cred.Uid))
}
