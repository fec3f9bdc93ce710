package smtpd

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"

	"gatepost/internal/envelope"
	"gatepost/internal/smtp"
	"gatepost/internal/smtpd/wire"
)

var (
	replySignedIn     = &smtp.Reply{Code: 235, Enhanced: "2.7.0", Text: "signed in"}
	replyNoAuth       = &smtp.Reply{Code: 503, Enhanced: "5.5.1", Text: "nobody signs in here; users send through the submission port"}
	replyAuthNeedsTLS = &smtp.Reply{Code: 538, Enhanced: "5.7.11", Text: "encryption is required to sign in: STARTTLS first"}
	replyAuthTwice    = &smtp.Reply{Code: 503, Enhanced: "5.5.1", Text: "already signed in"}
	replyAuthLate     = &smtp.Reply{Code: 503, Enhanced: "5.5.1", Text: "not during a mail transaction"}
	replyMechanism    = &smtp.Reply{Code: 534, Enhanced: "5.7.9", Text: "unknown way to sign in"}
	replyLongResponse = &smtp.Reply{Code: 500, Enhanced: "5.5.6", Text: "response too long"}
	replyRounds       = &smtp.Reply{Code: 501, Enhanced: "5.5.2", Text: "that is not how this mechanism goes"}
	replyAuthFailures = &smtp.Reply{Code: 421, Enhanced: "4.7.0", Text: "too many failed sign-ins, bye"}
)

// maxRounds bounds the challenges of one exchange; no mechanism that we know
// has more than three.
const maxRounds = 8

// auth obeys AUTH: RFC 4954, section 4.
func (s *session) auth(ctx context.Context, args string) *smtp.Reply {
	switch {
	case s.o.Door != envelope.Submission || s.o.Auth == nil:
		return replyNoAuth
	case !s.peer.ESMTP:
		return replySequence
	case s.peer.Account != "":
		return replyAuthTwice
	case s.tx != nil:
		return replyAuthLate
	}
	mechanism, response, bad := smtp.ParseAuth(args)
	if bad != nil {
		return s.authFailed(bad)
	}
	if !slices.Contains(s.mechanisms(), mechanism) {
		return replyMechanism
	}
	s.peer.Gone = s.wire.Gone
	defer func() { s.peer.Gone = nil }()
	x, err := s.o.Auth.Start(mechanism, &s.peer)
	if err != nil {
		return s.authFailed(&envelope.AsError(err).Reply)
	}
	return s.exchange(ctx, x, response)
}

// exchange carries messages between the client and the mechanism until one
// of them is satisfied.
func (s *session) exchange(ctx context.Context, x Exchange, response []byte) *smtp.Reply {
	for range maxRounds {
		challenge, done, err := x.Next(ctx, response)
		clear(response)
		if err != nil {
			return s.authFailed(&envelope.AsError(err).Reply)
		}
		if done && len(challenge) == 0 {
			return s.signedIn(ctx, x)
		}
		var bad *smtp.Reply
		if response, bad = s.challenge(challenge); response == nil {
			return bad
		}
		if done && len(response) == 0 {
			return s.signedIn(ctx, x)
		}
		if done {
			break
		}
	}
	return s.authFailed(replyRounds)
}

// challenge sends a challenge and waits for the response. It is nil if there
// is none; then the reply is what to say to that.
func (s *session) challenge(challenge []byte) (response []byte, bad *smtp.Reply) {
	s.wire.Challenge(base64.StdEncoding.EncodeToString(challenge))
	s.wire.Expect(s.o.Limits.CommandTimeout, s.budget.end)
	line, err := s.wire.Line(smtp.MaxAuthLine)
	var long wire.LongLine
	switch {
	case errors.As(err, &long):
		return nil, s.authFailed(replyLongResponse)
	case err != nil:
		return nil, s.unheard(err)
	}
	response, bad = smtp.ParseResponse(line)
	clear(line) // the buffer is shared
	if bad != nil {
		return nil, s.authFailed(bad)
	}
	return response, nil
}

// authFailed counts a sign-in that failed. The last one that a session may
// have ends it, also when it failed by its syntax: to guess is to guess.
// What is our own fault (4yz) does not count.
func (s *session) authFailed(r *smtp.Reply) *smtp.Reply {
	if r.Temporary() {
		return r
	}
	s.Counters.SignInFailures.Add(1)
	if s.budget.signIns++; s.budget.signIns >= s.o.Limits.AuthFailures {
		return replyAuthFailures
	}
	return r
}
