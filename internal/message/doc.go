// Package message reads and writes what is inside a message: header fields,
// addresses, dates, encoded words, and the MIME structure as far as it must
// be known to carry 8-bit content over a 7-bit hop.
//
// # Place in the path
//
// smtpd and gate check and edit the header of a message that comes in; dsn
// and queue write messages of our own; remote calls Downgrade for a server
// without 8BITMIME; mailbox and the commands show fields to people.
//
// # Standards
//
// RFC 5322 (syntax), RFC 6532 (UTF-8 in it), RFC 2045 and 2046 (MIME), RFC
// 2047 and 2231 (encoded words), RFC 6152 (8BITMIME), RFC 1428 (unlabelled
// 8-bit text).
//
// # What it trusts, and its limits
//
// Nothing: every input may be hostile. It touches no disk, network or clock.
// Functions on a header section take time in proportion to its length and
// memory in proportion to what they return; the section itself is bounded by
// who read it. MaxFields, MaxAddresses, MaxDepth, MaxParts and MaxHeader
// bound what is nested or counted. Downgrade streams.
package message
