// Package queue decides when a message is attempted, and what follows from
// the outcome.
//
// # Place in the path
//
// The spool offers it every message that is not done; it hands them to the
// local or the remote deliverer and gives outcomes back to the spool as
// changes. What it must tell senders it writes with dsn and submits as a
// message of our own, which the spool offers in turn. Offers are acted upon
// without reading from disk.
//
// Standards: RFC 5321, section 4.5.4 (retries), RFC 3461, sections 4 to 6
// (who is told), RFC 3464 through package dsn.
//
// # Jobs and lines
//
// The recipients of a message that share a destination are a job; the jobs
// of a destination stand in its line. There is no goroutine for either: one
// runs for each attempt under way and takes the next job when it is done.
//
//	state    where it is                  leaves it by
//	-------  ---------------------------  ----------------------------------
//	ready    at its place in the line     a slot is free and the line not held:
//	                                      busy
//	busy     with one goroutine, which    the outcome: gone, or waiting; an
//	         alone may change it          operator's verb: ready or gone
//	waiting  deferred, its alarm is set   the alarm or an operator: ready
//	parked   its message is held by an    release: ready
//	         operator, or its account is
//	         frozen
//	(gone)   no recipient of it waits
//
// A recipient's own deferral (greylisting, a full mailbox) makes its job
// wait. A destination's deferral (no connection, 421) holds the whole line,
// whose jobs stay ready: nothing is written for them, and none is attempted
// until the line's alarm lets one try. Where routes change (Reroute), jobs move
// to the lines of their new destinations and are due at once. Nothing else
// about the queue is durable: after a restart all of it follows from the
// offers.
//
// # Fairness
//
// Attempts at other servers share one number of slots, those at our own
// mailboxes another. Lines take turns, a job at a time. A dead or slow
// destination holds its slots for minutes, so slots are not only taken in
// turn but kept from those who hold many: a line's second slot is given only
// while half of all are free, and lines that have not proven to be quick
// never have more than three quarters of all. A new line begins with one
// connection and gets one more with each success, up to PerDestination.
//
// Where processors are the bound and not the network, hundreds of attempts at
// once only wait for each other, and a message that nothing is in front of
// would wait with them. So few attempts may be in their first moments at the
// same time (RemoteYoung); a line that had nothing to do is not held up by it.
//
// # Time
//
// One timer serves all alarms, which stand in one heap: a timer for each of
// 10,000 destinations would be as many goroutines when they go off together.
// Alarms and ages are measured from the start of the process with the
// monotonic clock, so a wall clock that is set while we run moves nothing.
// Across restarts only the wall clock can tell: an age below zero counts as
// zero, a retry lies never further off than the longest interval, and
// nothing is given up for its age before it was watched for an hour, had an
// attempt, and is too old by both clocks.
//
// # Locks
//
// mu guards the memory structures and is never held while the spool, a
// router, a deliverer or the log is called. desk puts operators' verbs and
// chores one after the other, so that their changes reach the spool in the
// order in which they were decided; it is taken before mu.
//
// # What it trusts, and its limits
//
// Its parts, but not what other servers said: that is cleaned and cut before
// it is shown or written. About 200 octets a recipient beyond the envelope,
// one line a destination; slots, times and the postmaster's notices are
// bounded by Options and the constants of each file.
package queue
