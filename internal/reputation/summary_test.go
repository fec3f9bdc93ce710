package reputation

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/aggregate"
	"gatepost/internal/store"
)

// told hands over the reports of some days, the last one yesterday.
func (k *kit) told(domain string, days int, policy string, rows ...aggregate.Row) {
	k.t.Helper()
	err := k.o.DB.Update(k.t.Context(), func(tx *store.Tx) error { // of all at once, which is quicker
		for i := range days {
			r := report(domain, fmt.Sprint(domain, i), rows...)
			r.Policy.Policy = policy
			r.Begin, r.End = r.Begin.AddDate(0, 0, -i), r.End.AddDate(0, 0, -i)
			in := ofDMARC(r)
			in.sender, in.proven = "peer.example", true
			if fresh, err := k.see(tx, in); err != nil || !fresh {
				return fmt.Errorf("seen before, or %w", err)
			}
			if err := add(tx, in); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		k.t.Fatal(err)
	}
}

func (k *kit) summary(domain addr.Domain) DMARC {
	k.t.Helper()
	var list []DMARC
	if err := k.DMARC(k.t.Context(), domain, func(s DMARC) error { list = append(list, s); return nil }); err != nil || len(list) != 1 {
		k.t.Fatal(list, err)
	}
	return list[0]
}

// What is advised, by what the reports say.
func TestAdvice(t *testing.T) {
	t.Parallel()
	own, forged, mixed := row("192.0.2.1", 1000, true, true), row("198.51.100.7", 50, false, false), row("192.0.2.1", 100, false, false)
	service := row("203.0.113.5", 100, false, false)
	service.Signatures = []aggregate.Signature{{Domain: "service.example", Result: "pass"}}
	list := service
	list.Overrides = []aggregate.Override{{Type: "mailing_list"}}
	k := newKit(t, "example.org")
	for name, c := range map[string]struct {
		days           int
		policy, next   string
		advice, source string // what the advice, and that for the first source, holds
		rows           []aggregate.Row
	}{
		"too early":       {13, "none", "", "Wait: there are reports of 13 of the last 30 days", "passes", []aggregate.Row{own}},
		"all well":        {14, "none", "quarantine", "It is safe to move to p=quarantine", "All of its mail passes", []aggregate.Row{own}},
		"forged":          {14, "quarantine", "reject", "It would stop 700 others", "Nothing shows that it is yours", []aggregate.Row{own, forged}},
		"as strict":       {14, "reject", "", "as strict as it can be", "passes", []aggregate.Row{own}},
		"a service":       {14, "none", "", "Stay: 1400 of 15400 messages fail", "service.example sends it", []aggregate.Row{own, service}},
		"a list":          {14, "none", "quarantine", "It is safe", "mailing list", []aggregate.Row{own, list}},
		"some of one's":   {14, "quarantine", "", "safe to move to p=reject when less than 1 in 100", "Some of its mail passes", []aggregate.Row{own, mixed}},
		"old reports end": {33, "none", "quarantine", "It is safe", "passes", []aggregate.Row{own}},
	} {
		domain := strings.NewReplacer(" ", "-", "'", "").Replace(name) + ".example.org"
		k.told(domain, c.days, c.policy, c.rows...)
		s := k.summary(addr.Domain(domain))
		if s.Next != c.next || !strings.Contains(s.Advice, c.advice) || !strings.Contains(s.Sources[0].Advice, c.source) ||
			s.Policy != c.policy || s.Days != min(c.days, 30) || s.Reporters != 1 || s.Unproved != 0 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// Nobody gets advice from reports of who knows whom, and of what there are no
// reports there is a summary all the same.
func TestUnproved(t *testing.T) {
	t.Parallel()
	k := newKit(t, "example.org")
	k.mail("dmarc-reports@example.org", "", dmarcLetter(t, "x@peer.example", report("example.org", "1", row("192.0.2.1", 1, false, false))))
	if s := k.summary(""); s.Unproved != 1 || s.Reports != 0 || s.Messages != 0 || !strings.Contains(s.Advice, "nothing proves") {
		t.Errorf("%+v", s)
	}
	n := 0
	err := k.DMARC(t.Context(), "other.example", func(s DMARC) error {
		n++
		if !strings.Contains(s.Advice, "There are no reports yet") || s.Domain != "other.example" {
			t.Errorf("%+v", s)
		}
		return nil
	})
	if n != 1 || err != nil {
		t.Error(n, err)
	}
	stop := errors.New("stop")
	if err := k.DMARC(t.Context(), "", func(DMARC) error { return stop }); err != stop {
		t.Error(err)
	}
}

func TestTLSSummary(t *testing.T) {
	t.Parallel()
	k := newKit(t, "example.org")
	of := func(domain addr.Domain) (list []TLS) {
		t.Helper()
		if err := k.TLS(t.Context(), domain, func(s TLS) error { list = append(list, s); return nil }); err != nil {
			t.Fatal(err)
		}
		return list
	}
	if list := of(""); len(list) != 0 {
		t.Errorf("%+v", list)
	}
	in := tlsReport
	k.mail("tls-reports@example.org", proved, letter("tls@peer.example", "application/json", []byte(in)))
	list := of("")
	if len(list) != 1 || list[0].Succeeded != 40 || list[0].Failed != 5 || len(list[0].Failures) != 2 || list[0].Failures[0].Host != "mx.example.org" ||
		!strings.Contains(list[0].Advice, "Wait") || !strings.Contains(list[0].Failures[0].Advice, "Renew it") {
		t.Fatalf("%+v", list)
	}
	several := func(clean bool) {
		for i := range enoughDays + 1 {
			day := now.AddDate(0, 0, -i-2).Format(time.DateOnly)
			text := strings.NewReplacer("2026-11-24", day, `"r1"`, fmt.Sprintf(`"c%d"`, i)).Replace(in)
			if clean {
				head, _, _ := strings.Cut(text, `,
"failure-details"`)
				text = strings.Replace(head, `"total-failure-session-count":5`, `"total-failure-session-count":0`, 1) + "}]}"
			}
			k.mail("tls-reports@example.org", proved, letter("tls@peer.example", "application/json", []byte(text)))
		}
	}
	several(false)
	if s := of("example.org")[0]; !strings.Contains(s.Advice, "Mend what is listed") {
		t.Errorf("%+v", s)
	}
	k = newKit(t, "example.org")
	several(true)
	if s := of("example.org")[0]; !strings.Contains(s.Advice, "safe to move it to enforce") || s.Failed != 0 {
		t.Errorf("%+v\n%s", s, k.log.String())
	}
}

// Every result of RFC 8460 has its advice.
func TestTLSAdvice(t *testing.T) {
	t.Parallel()
	other := tlsAdvice(Sessions{Result: "validation-failure"})
	for _, result := range []string{"starttls-not-supported", "certificate-host-mismatch", "certificate-expired", "certificate-not-trusted", "tlsa-invalid",
		"dnssec-invalid", "sts-policy-fetch-error", "sts-policy-invalid", "sts-webpki-invalid"} {
		if tlsAdvice(Sessions{Result: result}) == other {
			t.Error(result)
		}
	}
}
