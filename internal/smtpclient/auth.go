package smtpclient

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"

	"gatepost/internal/smtp"
)

// mechanisms is a set of those that we know.
type mechanisms uint8

const (
	plain mechanisms = 1 << iota
	login
	scramSHA256
)

func parseMechanisms(s string) mechanisms {
	var m mechanisms
	for name := range strings.FieldsSeq(s) {
		switch strings.ToUpper(name) {
		case "PLAIN":
			m |= plain
		case "LOGIN":
			m |= login
		case "SCRAM-SHA-256":
			m |= scramSHA256
		}
	}
	return m
}

// Bounds of SCRAM's iterations: RFC 7677, section 4 asks for 4,096, which the
// library holds servers to; without an upper bound a server could keep one of
// our processors busy for hours.
const maxIterations = 2_000_000

// Errors of Auth, beside the server's refusal (an *smtp.Reply) and *Error.
var (
	// ErrNotVerified: credentials are only for a server that is known.
	ErrNotVerified = errors.New("the server is not verified, so no credentials are sent")
	// ErrMechanism: the server offers none of ours.
	ErrMechanism = errors.New("the server offers no way to sign in that we know (SCRAM-SHA-256, PLAIN, LOGIN)")
	// ErrCredential: a user name or password that cannot be sent.
	ErrCredential = errors.New("the user name or password is empty or holds a NUL")
)

// Auth signs in with the best mechanism that the server offers. It sends
// nothing unless TLS has verified the server, whatever the caller believes
// (a man in the middle would be handed the password).
func (c *Conn) Auth(user, password string) error {
	switch {
	case !c.Verified():
		return ErrNotVerified
	case c.ext.auth == 0:
		return ErrMechanism
	case user == "" || password == "" || strings.Contains(user+password, "\x00"):
		return ErrCredential
	}
	if err := c.begin(); err != nil {
		return err
	}
	defer c.end()
	defer func() { clear(c.buf.out[:cap(c.buf.out)]) }() // others will use it
	switch {
	case c.ext.auth&scramSHA256 != 0:
		return c.authSCRAM(user, password)
	case c.ext.auth&plain != 0:
		return c.authPlain(user, password)
	}
	return c.authLogin(user, password)
}

func (c *Conn) authPlain(user, password string) error {
	r, err := c.exchange("AUTH PLAIN " + encode("\x00"+user+"\x00"+password))
	if err != nil {
		return err
	}
	return c.signedIn(r)
}

func (c *Conn) authLogin(user, password string) error {
	for _, line := range []string{"AUTH LOGIN", encode(user)} {
		if _, err := c.challenge(line); err != nil {
			return err
		}
	}
	r, err := c.exchange(encode(password))
	if err != nil {
		return err
	}
	return c.signedIn(r)
}

// authSCRAM proves that we know the password without saying it, and that the
// server knows it too: RFC 5802, section 3.
func (c *Conn) authSCRAM(user, password string) error {
	client, err := scram.SHA256.NewClient(user, password, "")
	if err != nil {
		return ErrCredential
	}
	talk := client.NewConversation()
	first, err := talk.Step("")
	if err != nil {
		return err
	}
	line := "AUTH SCRAM-SHA-256 " + encode(first)
	for !talk.Done() {
		asked, err := c.challenge(line)
		if err != nil {
			return err
		}
		if iterations(asked) > maxIterations {
			return c.lose(atAuth, fmt.Errorf("%w: too many iterations", ErrProtocol))
		}
		answer, err := talk.Step(asked)
		if err != nil {
			return c.lose(atAuth, fmt.Errorf("%w: %w", ErrProtocol, err))
		}
		line = encode(answer)
	}
	r, err := c.exchange(line)
	if err != nil {
		return err
	}
	return c.signedIn(r)
}

// iterations returns the count that a server-first-message asks for: RFC
// 5802, section 7.
func iterations(challenge string) int {
	for field := range strings.SplitSeq(challenge, ",") {
		if value, ok := strings.CutPrefix(field, "i="); ok {
			n, err := strconv.Atoi(value)
			if err != nil {
				return maxIterations + 1
			}
			return n
		}
	}
	return 0
}

// challenge sends a line and returns what the server asks next.
func (c *Conn) challenge(line string) (string, error) {
	r, err := c.exchange(line)
	switch {
	case err != nil:
		return "", err
	case r.Code != 334:
		// A 235 before the server has proved anything is no success either.
		return "", c.refusal(r)
	}
	text, err := base64.StdEncoding.DecodeString(strings.TrimSpace(r.Text))
	if err != nil {
		return "", c.lose(atAuth, fmt.Errorf("%w: a challenge that is not base64", ErrProtocol))
	}
	return string(text), nil
}

// exchange sends a line of the dialogue and returns the reply.
func (c *Conn) exchange(line string) (smtp.Reply, error) {
	c.add(line, "\r\n")
	if err := c.flush(atAuth); err != nil {
		return smtp.Reply{}, err
	}
	return c.reply(atAuth)
}

// signedIn reads the last reply.
func (c *Conn) signedIn(r smtp.Reply) error {
	if r.Code == 235 {
		return nil
	}
	return c.refusal(r)
}

// refusal returns a reply that is not the one that was hoped for.
func (c *Conn) refusal(r smtp.Reply) error {
	if r.Positive() {
		return c.unexpected(atAuth, r)
	}
	return &r
}

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
