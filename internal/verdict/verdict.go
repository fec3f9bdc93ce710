// Package verdict decides what becomes of a message, given what can be found
// out about who really sent it.
//
// # Place in the path
//
// gate makes a Check of each message from the world when its header has come,
// passes the body to it, and asks for the Verdict at the end of the data. So
// does gatepost message check with a file. Messages of signed-in users and of
// [relay] clients never come here.
//
// # How it decides
//
// Check gathers the Facts (check.go), all look-ups at once; Judge is pure and
// turns them into a Verdict:
//
//   - A message of which readers would show different authors is refused, or
//     goes to Junk where a fault is more likely than an attack.
//   - A failure of DMARC goes to Junk where its owner asks for quarantine.
//     Where the owner asks for rejection it is refused only with a second
//     reason: no signature of the author's domain at all, and nothing that
//     hints at a mailing list or a forwarder. Our own domains ask for
//     rejection, whatever they publish.
//   - Where the sender's DNS fails, the message is to be tried again. Where
//     it is our own resolver that does not answer, the message is accepted
//     and marked, since all mail would wait else.
//   - What the operator chose for an author's domain goes before all that:
//     docs/decisions/0011-operators-choice.md.
//   - A name that shows somebody else's address goes to Junk unless the
//     author is proved, and always where the address is one of ours.
//
// # Standards
//
// RFC 9989 (section 7.4: no rejecting for p=reject
// alone), RFC 7208, 6376, 8617; RFC 8601 for iprev and the field that tells
// what was found; RFC 7372 for the reply.
//
// # What it trusts, and its limits
//
// The client's address, the resolver, and the forwarders that the operator
// lists. checkTime bounds all look-ups of one message together, maxNames those
// of iprev; the standards bound their own. The body is hashed as it passes
// and not kept.
package verdict

import (
	"errors"
	"fmt"

	"gatepost/internal/addr"
	"gatepost/internal/arc"
	"gatepost/internal/dkim"
	"gatepost/internal/dmarc"
	"gatepost/internal/envelope"
	"gatepost/internal/resolve"
	"gatepost/internal/spf"
)

// Action is what becomes of a message.
type Action uint8

// The actions.
const (
	Accept Action = iota
	Junk          // accepted, and filed where the reader is wary
	Reject        // refused for good
	Defer         // to be tried again
)

func (a Action) String() string {
	return [...]string{"accept", "junk", "reject", "defer"}[a]
}

// Facts are what was found out about a message.
type Facts struct {
	Author dmarc.Author
	// Problem says why there is no Author; nil if there is one.
	Problem *dmarc.AuthorError

	SPF   spf.Result // of the reverse-path
	Helo  spf.Result // of the greeting
	IPRev IPRev
	DKIM  []dkim.Result
	DMARC dmarc.Result
	ARC   arc.Result
	// Forwarder is a server that we trust and that found, before it passed
	// the message on, that DMARC passed; empty if there is none.
	Forwarder addr.Domain

	Nobody   bool        // no field names any sender that a reader could show
	List     bool        // it has fields of a mailing list: RFC 2369, 2919
	Report   bool        // it says that it is a report, of DMARC or on TLS
	Own      bool        // the author's domain is ours, or below one that is
	Choice   *Action     // what the operator wants done where nothing shows that it is the author's; nil: what follows
	ShownOwn addr.Domain // a domain of ours that a name shows, in place of the author's
}

// Verdict is what becomes of a message and why.
type Verdict struct {
	Action  Action
	Reasons []string // whole sentences for people, without their full stop
	Facts   Facts
	reply   *envelope.Error
}

// Err returns what the client is told: nil if the message is taken.
func (v *Verdict) Err() error {
	if v.reply == nil {
		return nil
	}
	return v.reply
}

// ProvesSender reports whether the client may send for the reverse-path, so
// that a bounce hits nobody who was forged.
func (v *Verdict) ProvesSender() bool {
	return v.Facts.SPF.Status == spf.Pass && v.Facts.SPF.Identity == spf.MailFrom
}

// because adds a reason and, if it is worse than what was found before, an
// action.
func (v *Verdict) because(a Action, format string, args ...any) {
	v.Reasons = append(v.Reasons, fmt.Sprintf(format, args...))
	v.Action = max(v.Action, a)
}

// refuse is because for an action that the client is told of.
func (v *Verdict) refuse(a Action, code int, enhanced, text string) {
	v.because(a, "%s", text)
	if v.reply == nil {
		v.reply = envelope.Refuse(code, enhanced, text)
	}
}

// rules are asked in order until one has refused the message.
var rules = []func(*Verdict){
	(*Verdict).author,
	(*Verdict).dmarc,
	(*Verdict).spf,
	(*Verdict).display,
}

// Judge decides.
func Judge(f Facts) *Verdict {
	v := &Verdict{Facts: f}
	for _, rule := range rules {
		if rule(v); v.reply != nil {
			break
		}
	}
	return v
}

// author looks at a From that shows nobody, or different people in different
// readers.
func (v *Verdict) author() {
	p := v.Facts.Problem
	switch {
	case p == nil:
	case p.Problem == dmarc.SeveralFrom || p.Problem == dmarc.BrokenHeader:
		// Which one was verified, and which is shown, is the attack.
		v.refuse(Reject, 550, "5.7.1", "readers would show different authors of this message: "+p.Error())
	case p.Problem == dmarc.NoFrom && v.Facts.Nobody:
		v.because(Accept, "the message names no sender at all")
	default:
		v.because(Junk, "there is no author who could be verified: %v", p)
	}
}

// dmarc looks at whether the author's domain stands behind the message.
func (v *Verdict) dmarc() {
	f := &v.Facts
	if f.Problem != nil {
		return
	}
	status, policy := f.standing()
	switch {
	case status == dmarc.Pass:
		v.because(Accept, "%s", f.DMARC.Reason)
	case f.Forwarder != "":
		v.because(Accept, "%s, which is trusted, found that %s stood behind it", f.Forwarder, f.Author.Domain)
	case status == dmarc.TempError && f.resolverDown():
		v.because(Accept, "nothing could be verified: our own DNS resolver does not answer")
	case status == dmarc.TempError && f.takesAny():
		v.chosen(Accept)
	case status == dmarc.TempError:
		v.refuse(Defer, 451, "4.4.3", "the DNS of "+string(f.Author.Domain)+" does not answer, so its mail cannot be verified; try again later")
		v.reply.Cause = f.DMARC.Err
	case status == dmarc.Fail && f.Choice != nil:
		v.chosen(*f.Choice)
	case status == dmarc.Fail:
		v.failed(policy)
	default:
		v.because(Accept, "%s", f.DMARC.Reason)
	}
}

// takesAny reports whether the operator wants the author's mail whatever is
// found out, so that nothing need be waited for.
func (f *Facts) takesAny() bool { return f.Choice != nil && *f.Choice == Accept }

// chosen does with a failure what the operator wants.
func (v *Verdict) chosen(a Action) {
	who := "nothing shows that it is by " + string(v.Facts.Author.Domain)
	switch a {
	case Accept:
		v.because(Accept, "%s, and this server accepts such mail", who)
	case Junk:
		v.because(Junk, "%s, and this server is wary of such mail", who)
	default:
		v.refuse(Reject, 550, "5.7.26", who+", and this server refuses such mail")
	}
}

// failed looks at a failure of DMARC. A mailing list or a forwarder breaks
// it without anybody's bad intention, hence the second reason (RFC 9989,
// section 7.4).
func (v *Verdict) failed(policy dmarc.Policy) {
	f := &v.Facts
	who := "nothing shows that it is by " + string(f.Author.Domain)
	switch hint := f.hint(); {
	case policy == dmarc.PolicyNone:
		v.because(Accept, "%s, which asks for nothing to be done", who)
	case policy == dmarc.Quarantine:
		v.because(Junk, "%s, which asks to be wary of such mail", who)
	case hint != "":
		v.because(Junk, "%s, which asks to refuse such mail; yet %s", who, hint)
	case f.Own:
		v.refuse(Reject, 550, "5.7.26", who+", a domain of this server: its users sign in to send")
	default:
		v.refuse(Reject, 550, "5.7.26", who+", which asks to refuse such mail (DMARC), and it has no signature of that domain")
	}
}

// hint returns what makes it likely that somebody on the way broke the proof
// of the author, if anything does.
func (f *Facts) hint() string {
	switch {
	case f.signed():
		return "it has a signature of that domain, which may have been broken on the way"
	case f.List:
		return "it comes through a mailing list"
	case f.ARC.Instances > 0 || f.ARC.Status != arc.None:
		return "it says that it was forwarded"
	}
	return ""
}

// signed reports whether there is a signature of the author's domain, good or
// not.
func (f *Facts) signed() bool {
	if f.DMARC.Signed {
		return true
	}
	for _, s := range f.DKIM {
		if s.Domain == f.Author.Domain {
			return true
		}
	}
	return false
}

// standing is what DMARC comes to here.
func (f *Facts) standing() (dmarc.Status, dmarc.Policy) {
	if (f.Own || f.Choice != nil) && f.DMARC.Status != dmarc.TempError {
		return f.own()
	}
	return f.DMARC.Status, f.DMARC.Policy
}

// own is what DMARC comes to for a domain of ours, or one that the operator
// chose for, as if it published p=reject.
func (f *Facts) own() (dmarc.Status, dmarc.Policy) {
	if f.DMARC.Status == dmarc.Pass || f.proven() {
		return dmarc.Pass, dmarc.PolicyNone
	}
	return dmarc.Fail, dmarc.Reject
}

// proven reports whether the very domain of the author stands behind the
// message, also where it publishes no policy.
func (f *Facts) proven() bool {
	if f.SPF.Status == spf.Pass && f.SPF.Identity == spf.MailFrom && f.SPF.Domain == string(f.Author.Domain) {
		return true
	}
	for _, s := range f.DKIM {
		if s.Domain == f.Author.Domain && s.Authenticates() {
			return true
		}
	}
	return false
}

// resolverDown reports whether it is our resolver that failed.
func (f *Facts) resolverDown() bool {
	return errors.Is(f.DMARC.Err, resolve.ErrUnreachable) || errors.Is(f.SPF.Err, resolve.ErrUnreachable)
}

// spf lets mail wait whose sender's zone does not answer: RFC 7208, section
// 8.6. A failure alone refuses nothing, since forwarding breaks it.
func (v *Verdict) spf() {
	f := &v.Facts
	if f.SPF.Status != spf.TempError || f.DMARC.Status == dmarc.Pass || f.resolverDown() || f.proven() || f.Problem == nil && f.takesAny() {
		return
	}
	v.refuse(Defer, 451, "4.4.3", "the DNS of "+f.SPF.Domain+" does not answer, so its mail cannot be verified; try again later")
	v.reply.Cause = f.SPF.Err
}

// display looks at names that show an address which is not the author's:
// many readers show nothing else.
func (v *Verdict) display() {
	f := &v.Facts
	if f.Problem != nil || len(f.Author.Shown) == 0 {
		return
	}
	proven := f.DMARC.Status == dmarc.Pass || f.proven()
	switch {
	case f.ShownOwn != "" && !(proven && f.List):
		v.because(Junk, "the author's name shows an address of %s, a domain of this server, but the message is from %s", f.ShownOwn, f.Author.Domain)
	case !proven && !f.List:
		v.because(Junk, "the author's name shows an address of %s, but the message is from %s", f.Author.Shown[0], f.Author.Domain)
	default:
		v.because(Accept, "the author's name shows an address of %s, but the message is from %s", f.Author.Shown[0], f.Author.Domain)
	}
}
