package verdict

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"gatepost/internal/addr"
	"gatepost/internal/arc"
	"gatepost/internal/dkim"
	"gatepost/internal/dmarc"
	"gatepost/internal/resolve"
	"gatepost/internal/spf"
)

// facts are of a message by x@a.example that DMARC has no doubt about.
func facts(change ...func(*Facts)) Facts {
	f := Facts{Author: dmarc.Author{Domain: "a.example"}, DMARC: dmarc.Result{Status: dmarc.Pass, From: "a.example", Reason: "it is theirs"}}
	for _, c := range change {
		c(&f)
	}
	return f
}

func fails(p dmarc.Policy) func(*Facts) {
	return func(f *Facts) { f.DMARC.Status, f.DMARC.Policy = dmarc.Fail, p }
}

func temporary(err error) func(*Facts) {
	return func(f *Facts) { f.DMARC.Status, f.DMARC.Err = dmarc.TempError, err }
}

func noPolicy(f *Facts) { f.DMARC = dmarc.Result{From: "a.example", Reason: "no policy"} }

func isList(f *Facts) { f.List = true }
func isOwn(f *Facts)  { f.Own = true }

func shows(d addr.Domain) func(*Facts) {
	return func(f *Facts) { f.Author.Shown = []addr.Domain{d} }
}

func problem(p dmarc.AuthorProblem) func(*Facts) {
	return func(f *Facts) { f.Problem = &dmarc.AuthorError{Problem: p} }
}

func badSPF(err error) func(*Facts) {
	return func(f *Facts) { f.SPF = spf.Result{Status: spf.TempError, Domain: "b.example", Err: err} }
}

func TestJudge(t *testing.T) {
	t.Parallel()
	down := fmt.Errorf("%w: refused", resolve.ErrUnreachable)
	broken := errors.New("SERVFAIL")
	signed := func(f *Facts) { f.DMARC.Signed = true }
	badSignature := func(f *Facts) { f.DKIM = []dkim.Result{{Status: dkim.Fail, Domain: "a.example"}} }
	chooses := func(a Action) func(*Facts) { return func(f *Facts) { f.Choice = &a } }
	spfOf := func(d string) func(*Facts) {
		return func(f *Facts) { f.SPF = spf.Result{Status: spf.Pass, Domain: d} }
	}
	for _, c := range []struct {
		name   string
		facts  Facts
		want   Action
		code   int
		reason string
	}{
		{"a pass", facts(), Accept, 0, "it is theirs"},
		{"no policy", facts(noPolicy), Accept, 0, "no policy"},
		{"p=none", facts(fails(dmarc.PolicyNone)), Accept, 0, "asks for nothing"},
		{"p=quarantine", facts(fails(dmarc.Quarantine)), Junk, 0, "wary"},
		{"p=reject without excuse", facts(fails(dmarc.Reject)), Reject, 550, "no signature of that domain"},
		{"p=reject, signed", facts(fails(dmarc.Reject), signed), Junk, 0, "broken on the way"},
		{"p=reject, a list", facts(fails(dmarc.Reject), isList), Junk, 0, "mailing list"},
		{"p=reject, a chain", facts(fails(dmarc.Reject), func(f *Facts) { f.ARC.Status = arc.Fail }), Junk, 0, "forwarded"},
		{"p=reject, a forwarder", facts(fails(dmarc.Reject), func(f *Facts) { f.Forwarder = "list.example" }), Accept, 0, "list.example, which is trusted"},
		{"ours", facts(isOwn), Accept, 0, ""},
		{"ours, not proved", facts(isOwn, noPolicy), Reject, 550, "sign in to send"},
		{"ours, p=none fails", facts(isOwn, fails(dmarc.PolicyNone)), Reject, 550, "sign in to send"},
		{"ours, bad signature", facts(isOwn, noPolicy, badSignature), Junk, 0, "broken on the way"},
		{"ours, a list", facts(isOwn, noPolicy, isList), Junk, 0, "mailing list"},
		{"ours, our server", facts(isOwn, noPolicy, spfOf("a.example")), Accept, 0, ""},
		{"ours, another's server", facts(isOwn, noPolicy, spfOf("b.example")), Reject, 550, ""},
		{"ours, our resolver is down", facts(isOwn, temporary(down)), Accept, 0, "our own DNS resolver"},
		{"the operator accepts", facts(fails(dmarc.Reject), chooses(Accept)), Accept, 0, "this server accepts"},
		{"the operator accepts ours", facts(isOwn, noPolicy, chooses(Accept)), Accept, 0, "this server accepts"},
		{"the operator is wary", facts(fails(dmarc.PolicyNone), chooses(Junk)), Junk, 0, "this server is wary"},
		{"the operator refuses", facts(noPolicy, chooses(Reject)), Reject, 550, "this server refuses"},
		{"the operator refuses, a list", facts(fails(dmarc.PolicyNone), isList, chooses(Reject)), Reject, 550, "this server refuses"},
		{"the operator refuses, a pass", facts(chooses(Reject)), Accept, 0, "it is theirs"},
		{"the operator refuses, its server", facts(noPolicy, chooses(Reject), spfOf("a.example")), Accept, 0, ""},
		{"the operator refuses, a trusted forwarder", facts(fails(dmarc.Reject), chooses(Reject), func(f *Facts) { f.Forwarder = "list.example" }), Accept, 0, "trusted"},
		{"the operator refuses, nobody answers", facts(temporary(broken), chooses(Reject)), Defer, 451, "does not answer"},
		{"the operator accepts, nobody answers", facts(temporary(broken), chooses(Accept)), Accept, 0, "this server accepts"},
		{"the operator accepts, nobody answers for the sender", facts(fails(dmarc.Reject), badSPF(broken), chooses(Accept)), Accept, 0, "this server accepts"},
		{"the operator is wary, nobody answers", facts(temporary(broken), chooses(Junk)), Defer, 451, "does not answer"},
		{"the operator is wary, nobody answers for the sender", facts(fails(dmarc.Reject), badSPF(broken), chooses(Junk)), Defer, 451, "b.example does not answer"},
		{"their zone is broken", facts(temporary(broken)), Defer, 451, "a.example does not answer"},
		{"our resolver is down", facts(temporary(down)), Accept, 0, "our own DNS resolver"},
		{"the sender's zone is broken", facts(noPolicy, badSPF(broken)), Defer, 451, "b.example does not answer"},
		{"the sender's zone is broken, the author is proved", facts(badSPF(broken)), Accept, 0, ""},
		{"our resolver is down for the sender", facts(noPolicy, badSPF(down)), Accept, 0, ""},
		{"SPF fails alone", facts(noPolicy, func(f *Facts) { f.SPF = spf.Result{Status: spf.Fail} }), Accept, 0, ""},
		{"two From", facts(problem(dmarc.SeveralFrom)), Reject, 550, "different authors"},
		{"no field", facts(problem(dmarc.BrokenHeader)), Reject, 550, "different authors"},
		{"two domains", facts(problem(dmarc.SeveralDomains)), Junk, 0, "several domains"},
		{"an empty group", facts(problem(dmarc.NoAddress)), Junk, 0, "no address"},
		{"no From but Sender", facts(problem(dmarc.NoFrom)), Junk, 0, "no From"},
		{"nobody", facts(problem(dmarc.NoFrom), func(f *Facts) { f.Nobody = true }), Accept, 0, "no sender at all"},
		{"another's name", facts(noPolicy, shows("bank.example")), Junk, 0, "bank.example"},
		{"another's name, proved author", facts(shows("bank.example")), Accept, 0, "bank.example"},
		{"another's name on a list", facts(noPolicy, isList, shows("bank.example")), Accept, 0, "bank.example"},
		{"our name, proved author", facts(shows("us.example"), func(f *Facts) { f.ShownOwn = "us.example" }), Junk, 0, "a domain of this server"},
		{"our name on a list", facts(isList, shows("us.example"), func(f *Facts) { f.ShownOwn = "us.example" }), Accept, 0, "us.example"},
	} {
		v := Judge(c.facts)
		if v.Action != c.want || !strings.Contains(strings.Join(v.Reasons, "; "), c.reason) {
			t.Errorf("%s: %v, %q; want %v, %q", c.name, v.Action, v.Reasons, c.want, c.reason)
		}
		switch err := v.Err(); {
		case c.code == 0 && err != nil:
			t.Errorf("%s: is answered %v", c.name, err)
		case c.code != 0 && (err == nil || v.reply.Code != c.code):
			t.Errorf("%s: is answered %v, want %d", c.name, err, c.code)
		}
	}
}

// Nothing that a stranger writes ends one of our fields or begins another.
func TestFieldsStayFields(t *testing.T) {
	t.Parallel()
	v := Judge(facts(fails(dmarc.Quarantine), func(f *Facts) {
		f.SPF = spf.Result{Status: spf.Fail, Sender: "x\r\nBcc: y@b.example", Domain: "é\r\n\r\n", Reason: "a\r\nb"}
		f.Author.Domain = "a.example\r\nX: y"
	}))
	fields := string(v.Fields("mx.example.org"))
	for line := range strings.Lines(fields) {
		name, _, _ := strings.Cut(line, ":")
		if line[0] != ' ' && line[0] != '\t' && name != "Authentication-Results" && name != "X-Gatepost-Junk" {
			t.Errorf("%q in %q", line, fields)
		}
	}
	if strings.Count(fields, "X-Gatepost-Junk: ") != 1 || !strings.HasSuffix(fields, "\r\n") {
		t.Errorf("%q", fields)
	}
}
