// Package smtp is the grammar of SMTP, for both sides of a connection:
// commands, replies, and the content of messages on the wire.
//
// It is pure: bytes in, typed values out, no socket and no clock. The server
// (smtpd) asks it what a line means and gets a value or the reply that
// refuses it; the client (smtpclient) reads replies and stuffs dots with it.
// Nothing that did not parse here goes any further.
//
// Standards: RFC 5321, with SIZE (1870), PIPELINING (2920), CHUNKING (3030),
// DSN (3461, 6533), enhanced codes (2034, 3463), AUTH (4954), 8BITMIME
// (6152) and SMTPUTF8 (6531).
//
// It trusts nobody. Two attacks shape it. Smuggling: what one server takes
// for the end of a message or line must never be content to another, so only
// CR LF . CR LF ends content, only CR LF ends a line, and a CR, LF or NUL
// anywhere else condemns what it stands in. Injection: a control character
// never passes from a line into a value or from a text into a reply.
//
// Limits are the constants of each file; nothing here holds more memory than
// the line that it was given.
package smtp
