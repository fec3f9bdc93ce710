package test

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// client speaks SMTP word by word, as a case tells it to.
type client struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

// careless trusts any server: every certificate here is made up.
var careless = &tls.Config{InsecureSkipVerify: true}

// dial connects to a door of the server and reads its greeting.
func (s *server) dial(t *testing.T, port string) *client {
	t.Helper()
	c, greeting, err := connect(s.ip, port)
	if err != nil {
		t.Fatal(err)
	}
	c.t = t
	t.Cleanup(func() { c.conn.Close() })
	if !strings.HasPrefix(greeting, "220") {
		t.Fatalf("greeted with %q", greeting)
	}
	return c
}

// world connects as some other server does and says hello.
func (s *server) world(t *testing.T) *client {
	t.Helper()
	c := s.dial(t, "25")
	c.say("EHLO client.test", "250")
	return c
}

// signIn connects as a user does and signs in.
func (s *server) signIn(t *testing.T, account string) *client {
	t.Helper()
	c := s.dial(t, "465")
	c.say("EHLO client.test", "250")
	c.say("AUTH PLAIN "+plain(account, password), "235")
	return c
}

// plain is the credential of AUTH PLAIN.
func plain(account, password string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + account + "\x00" + password))
}

// connect is dial where no case can be failed.
func connect(ip, port string) (*client, string, error) {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(strings.Trim(ip, "[]"), port), patience)
	if err != nil {
		return nil, "", err
	}
	if port == "465" {
		conn = tls.Client(conn, careless)
	}
	c := &client{conn: conn, r: bufio.NewReader(conn)}
	greeting, err := c.reply()
	if err != nil {
		conn.Close()
	}
	return c, greeting, err
}

// reply reads one reply; its lines are joined by "\n".
func (c *client) reply() (string, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	var lines []string
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return strings.Join(lines, "\n"), err
		}
		lines = append(lines, strings.TrimRight(line, "\r\n"))
		if len(line) < 4 || line[3] != '-' {
			return strings.Join(lines, "\n"), nil
		}
	}
}

// tell sends a command and returns the reply.
func (c *client) tell(command string) (string, error) {
	if _, err := c.conn.Write([]byte(command + "\r\n")); err != nil {
		return "", err
	}
	return c.reply()
}

// send sends octets as they are.
func (c *client) send(octets string) {
	c.t.Helper()
	if _, err := c.conn.Write([]byte(octets)); err != nil {
		c.t.Fatal(err)
	}
}

// expect reads a reply, which must begin with want.
func (c *client) expect(want string) string {
	c.t.Helper()
	got, err := c.reply()
	if err != nil || !strings.HasPrefix(got, want) {
		c.t.Fatalf("read %q, %v; want %s", got, err, want)
	}
	return got
}

// say is tell; the reply must begin with want.
func (c *client) say(command, want string) string {
	c.t.Helper()
	got, err := c.tell(command)
	if err != nil || !strings.HasPrefix(got, want) {
		c.t.Fatalf("%s: got %q, %v; want %s", command, got, err, want)
	}
	return got
}

// closed says that the server must have ended the connection.
func (c *client) closed() {
	c.t.Helper()
	if got, err := c.reply(); err == nil {
		c.t.Fatalf("the session goes on with %q", got)
	}
}

// transact carries out a whole transaction and returns its last reply: that
// to the content, or the first refusal. from and to are what follows MAIL
// FROM: and RCPT TO:.
func (c *client) transact(from string, to []string, content string) (string, error) {
	commands := []string{"MAIL FROM:" + from}
	for _, r := range to {
		commands = append(commands, "RCPT TO:"+r)
	}
	for _, command := range append(commands, "DATA") {
		reply, err := c.tell(command)
		if err != nil || reply[0] != '2' && reply[0] != '3' {
			return reply, err
		}
	}
	if _, err := c.conn.Write([]byte(stuff(content) + ".\r\n")); err != nil {
		return "", err
	}
	return c.reply()
}

// mail is transact for a message that must be taken; it returns its id.
func (c *client) mail(from string, to []string, content string) string {
	c.t.Helper()
	reply, err := c.transact(from, to, content)
	id, ok := strings.CutPrefix(reply, "250 2.0.0 queued as ")
	if err != nil || !ok {
		c.t.Fatalf("from %s to %s: %q, %v", from, to, reply, err)
	}
	return id
}

// stuff doubles dots at the beginnings of lines; every line of content ends
// in CR LF.
func stuff(content string) string {
	content = strings.ReplaceAll(content, "\r\n.", "\r\n..")
	if strings.HasPrefix(content, ".") {
		content = "." + content
	}
	return content
}

// letter returns a message with a subject.
func letter(from, subject string) string {
	return fmt.Sprintf("From: <%s>\r\nSubject: %s\r\n\r\nThis is %s.\r\n", from, subject, subject)
}
