package verdict

import (
	"strings"

	"gatepost/internal/dmarc"
	"gatepost/internal/envelope"
)

// Refuse makes the verdict a refusal, with what the client is told.
func (v *Verdict) Refuse(why *envelope.Error) {
	v.because(Reject, "%s", why.Text)
	v.reply = why
}

// Unfit returns why a message that is taken must not be passed on to another
// server through an alias, as its sender is told; nil if it may. The next
// server sees us as who sends it, and its reader is the more deceived as SPF
// then holds for us. So a failure of DMARC stays here whatever the policy,
// unless the author's domain asks for nothing and it is likely that somebody
// on the way broke the proof; or we were told to believe it.
func (v *Verdict) Unfit() *envelope.Error {
	const passed = "mail to this address goes on to another server, and this message does not: "
	f := &v.Facts
	if v.Action == Junk {
		return envelope.Refuse(550, "5.7.1", passed+plain(strings.Join(v.Reasons, "; ")))
	}
	status, policy := f.standing()
	switch {
	case f.Problem != nil, status != dmarc.Fail, f.Forwarder != "":
		return nil
	case f.Choice != nil && *f.Choice == Accept, policy == dmarc.PolicyNone && f.hint() != "":
		return nil
	}
	return envelope.Refuse(550, "5.7.26", passed+"nothing shows that it is by "+string(f.Author.Domain)+" (DMARC)")
}
