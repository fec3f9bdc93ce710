package smtpd

import (
	"context"
	"time"

	"gatepost/internal/smtp"
)

// replyEnded is the goodbye to who signed in with something that was taken
// away, or is over: the server closes without being asked (RFC 5321, section
// 3.8), for a reason of security of which no more is said (RFC 3463, X.7.0).
// It is temporary, since the same client may have another credential by then.
var replyEnded = &smtp.Reply{Code: 421, Enhanced: "4.7.0", Text: "what you signed in with has ended; please sign in again"}

// endTime is how long a session may take to say goodbye, also to a client
// that does not read, before it is cut off.
const endTime = 500 * time.Millisecond

// grant is what a session signed in with.
type grant struct {
	account    string
	credential int64
}

// End ends the sessions of an account that signed in with a credential, or
// all of them if it is 0: at once where they wait, else when they would next.
// A message that is still coming is not acknowledged.
func (s *Server) End(account string, credential int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, g := range s.signed {
		if g.account == account && (credential == 0 || g.credential == credential) {
			n.wire.End()
			s.o.Clock.AfterFunc(endTime, n.wire.Cut)
		}
	}
}

// signedIn notes who the client is. From here on End finds the session.
func (s *session) signedIn(ctx context.Context, x Exchange) *smtp.Reply {
	id, until := x.Credential()
	s.peer.Account, s.peer.Credential = x.Account(), id
	s.mu.Lock()
	s.signed[s] = grant{s.peer.Account, id}
	s.mu.Unlock()
	if !x.Holds(ctx) {
		return replyEnded
	}
	if !until.IsZero() && (s.budget.end.IsZero() || until.Before(s.budget.end)) {
		s.budget.end, s.budget.expires = until, true
	}
	s.Counters.SignIns.Add(1)
	return replySignedIn
}

// outlived reports whether the client signed in with something that is over
// by now.
func (s *session) outlived() bool {
	return s.budget.expires && !s.o.Clock.Now().Before(s.budget.end)
}
