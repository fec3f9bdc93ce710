package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/textproto"
	"time"
)

// door is where the server takes mail.
const door = "127.0.0.2:25"

// patience is how long a reply may take.
const patience = 30 * time.Second

// client sends mail over one connection at a time.
type client struct {
	book   *ledger
	random *rand.Rand
	name   string
	sent   int
}

// sends goes on until ctx ends, over a new connection whenever one breaks.
func (c *client) sends(ctx context.Context) {
	for ctx.Err() == nil {
		conn, err := net.DialTimeout("tcp", door, time.Second)
		if err != nil {
			pause(ctx, 50*time.Millisecond)
			continue
		}
		c.session(ctx, conn)
		conn.Close()
	}
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// session sends messages until something goes wrong or it has had enough.
func (c *client) session(ctx context.Context, conn net.Conn) {
	t := textproto.NewConn(conn)
	if _, err := ask(t, conn, ""); err != nil {
		return
	}
	if _, err := ask(t, conn, "EHLO client.soak.test\r\n"); err != nil {
		return
	}
	for range 1 + c.random.IntN(50) {
		if ctx.Err() != nil || !c.send(t, conn) {
			return
		}
		pause(ctx, time.Duration(c.random.Int64N(int64(400*time.Millisecond))))
	}
	ask(t, conn, "QUIT\r\n")
}

// ask sends octets and reads one reply. An error says that there was none.
func ask(t *textproto.Conn, conn net.Conn, octets string) (string, error) {
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write([]byte(octets)); err != nil {
		return "", err
	}
	code, text, err := t.ReadResponse(0)
	if code == 0 {
		return "", err
	}
	return fmt.Sprintf("%d %s", code, text), nil
}

// send sends one message and books what was said to it. It reports whether
// the session can go on.
func (c *client) send(t *textproto.Conn, conn net.Conn) bool {
	c.sent++
	token := fmt.Sprintf("%s-%d", c.name, c.sent)
	to := c.choose(token)
	commands := []string{"MAIL FROM:<" + sender + ">\r\n"}
	for _, r := range to {
		commands = append(commands, "RCPT TO:<"+r+">\r\n")
	}
	commands = append(commands, "DATA\r\n", letter(token)+".\r\n")
	c.book.sends(token, to)
	var reply string
	for i, command := range commands {
		var err error
		reply, err = ask(t, conn, command)
		last := i == len(commands)-1
		switch {
		case err != nil && last: // whether it was taken is unknown
			c.book.unanswered(token)
			return false
		case err != nil:
			c.book.refused(token, "")
			return false
		case reply[0] != '2' && reply[0] != '3':
			c.book.refused(token, reply)
			_, err := ask(t, conn, "RSET\r\n")
			return err == nil
		}
	}
	c.book.acknowledges(token, reply)
	return true
}

// choose picks the recipients of a message: mailboxes, other servers or
// both. An address elsewhere is the message's own, so that a bounce tells
// which one it is of.
func (c *client) choose(token string) (to []string) {
	for _, box := range boxes {
		if c.random.IntN(4) == 0 {
			to = append(to, box)
		}
	}
	for n := range hopCount {
		if c.random.IntN(6) == 0 {
			to = append(to, token+"@"+hopDomain(n))
		}
	}
	if len(to) == 0 {
		to = append(to, boxes[c.random.IntN(len(boxes))])
	}
	return to
}
