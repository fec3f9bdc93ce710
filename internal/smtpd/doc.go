// Package smtpd runs SMTP sessions: it knows when a verb is allowed, what it
// answers, and how long a client may take.
//
// # Place in the path
//
// listen hands it connections (Server.Serve). smtp parses each line; the
// Policy (gate) is asked at every stage; content streams into a Draft of the
// Spool while it arrives, and 250 is said only when Commit has returned. The
// Authenticator (account) decides who signed in.
//
// # Files
//
//	server.go   options, the set of sessions, draining
//	session.go  one session: greeting, commands in order, budgets, its end
//	wire/       buffers, deadlines and lines of the connection
//	helo.go, starttls.go, auth.go, mail.go, rcpt.go, data.go, bdat.go, minor.go, xclient.go
//	            a file for each verb
//	ended.go    what becomes of a session whose credential is taken away
//	intake.go   what becomes of content: header, policy, draft, commit
//	trace.go    the Received field
//
// # Standards
//
// RFC 5321, 6409 (submission), 1870, 2034, 2920, 3030, 3207, 3461, 3848,
// 4954, 6152, 6531, 8689 (REQUIRETLS), 9422 (LIMITS); XCLIENT is of Postfix.
//
// # Trust
//
// It trusts the parts that it was given and nobody on the wire. Plaintext
// from before a TLS handshake is forgotten (CVE-2011-0411); content is framed
// by CR LF . CR LF or by a counted chunk and nothing else; where the framing
// is in doubt the session ends, since what comes next might be content that
// gives orders. Nobody can sign in on the MX, nor outside TLS anywhere.
//
// # Limits
//
// Limits has those that an operator sets; each phase has its timeout, and a
// message its least rate. Memory does not grow with a message: at most the
// header section is held, and a session that waits holds no buffers.
package smtpd
