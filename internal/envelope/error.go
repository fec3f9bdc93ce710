package envelope

import (
	"errors"

	"gatepost/internal/smtp"
)

// Error is the one error that crosses stages: what the other side is told,
// apart from the private cause that goes to the log. The cause never
// reaches a peer.
type Error struct {
	smtp.Reply
	Cause error // may be nil
}

// ErrUnsigned says that a message could not be signed that must be.
var ErrUnsigned = errors.New("no key that mail is signed with is in use")

// Refuse returns an error with no cause beyond what its text says.
func Refuse(code int, enhanced, text string) *Error {
	return &Error{Reply: smtp.Reply{Code: code, Enhanced: enhanced, Text: text}}
}

// Fail returns an error whose text hides its cause.
func Fail(cause error, code int, enhanced, text string) *Error {
	return &Error{smtp.Reply{Code: code, Enhanced: enhanced, Text: text}, cause}
}

// AsError returns err as what a peer may be told. Anything that is not an
// *Error or an *smtp.Reply is a fault of ours, and temporary: the message is
// not to blame.
func AsError(err error) *Error {
	var e *Error
	var r *smtp.Reply
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return e
	case errors.As(err, &r):
		return &Error{Reply: *r}
	}
	return Fail(err, 451, "4.3.0", "something failed on our side; try again later")
}

// Error returns the reply and, for the log, its cause.
func (e *Error) Error() string {
	if e.Cause == nil {
		return e.Reply.Error()
	}
	return e.Reply.Error() + " (" + e.Cause.Error() + ")"
}

// Unwrap returns the private cause.
func (e *Error) Unwrap() error { return e.Cause }
