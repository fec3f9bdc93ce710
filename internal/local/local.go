// Package local delivers mail home: to the mailboxes of our own accounts.
//
// # Place in the path
//
// queue hands it a message and those of its recipients that are ours, as
// gate resolved them before the message was accepted. Aliases are not looked
// at again and nothing is injected anew, so delivery cannot loop; what loops
// through other servers is stopped by gate, which knows what was forwarded from
// an alias before, and by the count of Received fields in smtpd. A message that already carries a Delivered-To of the same address is
// therefore filed like any other.
//
// # What it adds
//
// Return-Path (RFC 5321, section 4.4) and Delivered-To, in front of the
// fields that the session added. The body is not touched.
//
// # Exactly once
//
// mailbox remembers (message, recipient); reputation, which has what comes to
// the addresses for reports, remembers the reports. Settled tells that outcomes are
// durable; the memory of those messages is given up soon after, in bulk, and
// at the next start where that was lost.
//
// Every failure is temporary but one: an account that has gone since the
// message was accepted.
package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"gatepost/internal/account"
	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/envelope"
	"gatepost/internal/mailbox"
)

// Internal bounds.
const (
	// parallel is how many recipients of one message are filed at once, so
	// that they share a commit.
	parallel = 16
	// forgetAfter is how long settled ids gather before they are forgotten.
	forgetAfter = 5 * time.Second
	// maxSettled bounds the ids that gather; the mailbox prunes what goes
	// beyond at the next start.
	maxSettled = 1 << 16
)

// Directory knows the accounts behind our addresses.
type Directory interface {
	// Find returns the account of a local address, or account.ErrUnknown, or
	// account.ErrReports where Reports is to have the message.
	Find(ctx context.Context, to addr.Address) (account.Account, error)
}

// Boxes keeps the mail.
type Boxes interface {
	// File is durable when it returns nil; mailbox.ErrFiled says that it
	// was done before, mailbox.ErrQuota that there is no room.
	File(ctx context.Context, f mailbox.Filing) (mailbox.Message, error)
	// Forget gives up the memory of messages whose outcomes are durable.
	Forget(ctx context.Context, ids []envelope.ID) error
	// Used returns the octets that an account's messages take.
	Used(ctx context.Context, account int64) (int64, error)
}

// Reports reads what comes to the addresses for reports.
type Reports interface {
	// Read is done with the message, for good, when it returns nil, however
	// often it is called with it. An error is of the store's.
	Read(ctx context.Context, to addr.Address, a *envelope.Attempt) error
}

// Options are the parts that Local works with; all are required.
type Options struct {
	Directory Directory
	Boxes     Boxes
	Reports   Reports
	Clock     clock.Clock
	Log       *slog.Logger
}

// Local delivers to mailboxes. Its methods may be called from any goroutine.
type Local struct {
	o Options

	mu      sync.Mutex
	settled []envelope.ID
	timer   clock.Timer // pending while settled is not empty
	closed  bool
	usage   map[int64]usage // by account id
}

// New returns a deliverer for our own domains.
func New(o Options) *Local { return &Local{o: o, usage: map[int64]usage{}} }

// Deliver files a message for its recipients and returns an outcome for
// each, in their order.
func (l *Local) Deliver(ctx context.Context, a *envelope.Attempt) []envelope.Outcome {
	return each(a, func(to addr.Address) envelope.Outcome {
		acct, err := l.o.Directory.Find(ctx, to)
		if errors.Is(err, account.ErrReports) {
			return outcome(to, l.o.Reports.Read(ctx, to, a))
		}
		if err != nil {
			return outcome(to, err)
		}
		return outcome(to, l.file(ctx, a, mailbox.Filing{
			Account:   acct.ID,
			Quota:     acct.Quota,
			Folder:    folder(a.Envelope),
			Recipient: to.String(),
			Header:    trace(a.Envelope, "Delivered-To: "+to.String()),
		}))
	})
}

// junk is the folder of mail that is to be wary of: RFC 6154, section 2.
const junk = "Junk"

// folder returns where a message belongs.
func folder(e *envelope.Envelope) string {
	if e.IsJunk() {
		return junk
	}
	return mailbox.Inbox
}

// file completes a filing with what it takes from the message. To have been
// filed before is as good as now.
func (l *Local) file(ctx context.Context, a *envelope.Attempt, f mailbox.Filing) error {
	f.ID, f.Date, f.Body = a.Envelope.ID, a.Envelope.Received, a.Body
	_, err := l.o.Boxes.File(ctx, f)
	if errors.Is(err, mailbox.ErrFiled) {
		return nil
	}
	return err
}

// trace returns the fields that a delivered message begins with.
func trace(e *envelope.Envelope, field string) []byte {
	returnPath := "Return-Path: <" + e.From.String() + ">\r\n"
	header := make([]byte, 0, len(returnPath)+len(field)+2+len(e.Header))
	header = append(header, returnPath...)
	header = append(header, field...)
	header = append(header, "\r\n"...)
	return append(header, e.Header...)
}

// each calls deliver for every recipient of an attempt, several at a time,
// and returns the outcomes in order.
func each(a *envelope.Attempt, deliver func(addr.Address) envelope.Outcome) []envelope.Outcome {
	outcomes := make([]envelope.Outcome, len(a.Recipients))
	one := func(i int) {
		// Only To is read: the spool may be changing the other fields.
		outcomes[i] = deliver(a.Envelope.Recipients[a.Recipients[i]].To)
	}
	if len(outcomes) == 1 {
		one(0)
		return outcomes
	}
	var group sync.WaitGroup
	turns := make(chan struct{}, parallel)
	for i := range outcomes {
		turns <- struct{}{}
		group.Go(func() {
			one(i)
			<-turns
		})
	}
	group.Wait()
	return outcomes
}

// outcome says what became of one recipient, in words for its sender.
func outcome(to addr.Address, err error) envelope.Outcome {
	switch {
	case err == nil:
		return envelope.Outcome{Status: envelope.Delivered}
	case errors.Is(err, account.ErrUnknown):
		return envelope.Outcome{Status: envelope.Failed, Err: envelope.Fail(err, 550, "5.1.1",
			fmt.Sprintf("there is no mailbox %s here any more", to))}
	case errors.Is(err, mailbox.ErrQuota):
		return deferred(err, 452, "4.2.2", fmt.Sprintf("the mailbox of %s is full", to))
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return deferred(err, 452, "4.3.1", "the mail server's disk is full")
	}
	return deferred(err, 451, "4.3.0", "the mailbox cannot be written to at the moment")
}

func deferred(cause error, code int, enhanced, text string) envelope.Outcome {
	return envelope.Outcome{Status: envelope.Deferred, Err: envelope.Fail(cause, code, enhanced, text)}
}
