package verdict

import (
	"errors"
	"strings"
	"testing"

	"gatepost/internal/arc"
	"gatepost/internal/dkim"
	"gatepost/internal/dmarc"
	"gatepost/internal/resolve"
)

// What is taken and yet does not go on to another server, and what does.
func TestUnfit(t *testing.T) {
	t.Parallel()
	isList := func(f *Facts) { f.List = true }
	chain := func(s arc.Status) func(*Facts) {
		return func(f *Facts) { f.ARC.Status, f.ARC.Instances = s, 1 }
	}
	chooses := func(a Action) func(*Facts) { return func(f *Facts) { f.Choice = &a } }
	for _, c := range []struct {
		name  string
		facts Facts
		code  string // "" if it goes on
		says  string
	}{
		{"a pass", facts(), "", ""},
		{"no policy", facts(noPolicy), "", ""},
		{"p=none fails", facts(fails(dmarc.PolicyNone)), "5.7.26", "nothing shows that it is by a.example (DMARC)"},
		{"p=none fails on a list", facts(fails(dmarc.PolicyNone), isList), "", ""},
		{"p=none fails, signed", facts(fails(dmarc.PolicyNone), func(f *Facts) { f.DKIM = []dkim.Result{{Domain: "a.example", Status: dkim.Fail}} }), "", ""},
		{"p=none fails after a forwarder", facts(fails(dmarc.PolicyNone), chain(arc.Pass)), "", ""},
		{"p=quarantine fails", facts(fails(dmarc.Quarantine)), "5.7.1", "asks to be wary"},
		{"p=quarantine fails on a list", facts(fails(dmarc.Quarantine), isList), "5.7.1", ""},
		{"p=reject fails on a list", facts(fails(dmarc.Reject), isList), "5.7.1", ""},
		{"a forwarder that we trust", facts(fails(dmarc.Reject), func(f *Facts) { f.Forwarder = "list.example" }), "", ""},
		{"the operator accepts", facts(fails(dmarc.Reject), chooses(Accept)), "", ""},
		{"the operator accepts what has no policy", facts(noPolicy, chooses(Accept)), "", ""},
		{"the operator is wary", facts(noPolicy, chooses(Junk)), "5.7.1", "wary"},
		{"our resolver is down", facts(func(f *Facts) { f.DMARC.Status, f.DMARC.Err = dmarc.TempError, resolve.ErrUnreachable }), "", ""},
		{"no author", facts(func(f *Facts) { f.Problem = &dmarc.AuthorError{Problem: dmarc.SeveralDomains} }), "5.7.1", "several domains"},
		{"names nobody", facts(func(f *Facts) { f.Problem, f.Nobody = &dmarc.AuthorError{Problem: dmarc.NoFrom}, true }), "", ""},
		{"another's name", facts(noPolicy, func(f *Facts) { f.Author.Shown = append(f.Author.Shown, "bank.example") }), "5.7.1", "bank.example"},
	} {
		v := Judge(c.facts)
		if v.Err() != nil {
			t.Errorf("%s: is not taken at all: %v", c.name, v.Err())
		}
		why := v.Unfit()
		switch {
		case why == nil && c.code != "", why != nil && (why.Code != 550 || why.Enhanced != c.code || !strings.Contains(why.Text, c.says)):
			t.Errorf("%s: %v, want %q", c.name, why, c.code)
		}
	}
}

// What could not be found out of a chain is not said to have failed, and the
// resolver is not named.
func TestChainOfWhichNobodyKnows(t *testing.T) {
	t.Parallel()
	f := facts(func(f *Facts) {
		f.ARC = arc.Result{Status: arc.Fail, Instances: 1, Reason: "the chain fails: 192.0.2.53 does not answer", Err: errors.New("192.0.2.53")}
	})
	if got := string(f.Results("mx.example.org").Field()); strings.Contains(got, "\tarc=") || strings.Contains(got, "192.0.2.53") {
		t.Error(got)
	}
	f.ARC.Err = nil
	if got := string(f.Results("mx.example.org").Field()); !strings.Contains(got, "\tarc=fail") {
		t.Error(got)
	}
}
