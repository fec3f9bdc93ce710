package reputation

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/store"
	"gatepost/internal/tlsrpt"
)

// What summaries are of, and when they advise.
const (
	window     = 30 * 24 * time.Hour // before now
	enoughDays = 14                  // with reports, before a stricter policy is advised
	maxShare   = 100                 // one message in so many may fail of what could be one's own
	maxShown   = 200                 // sources, or failures, of one domain
)

// Summary is what reports on a domain come to, of either kind. Only reports
// whose sender is proved are counted, but for Unproved.
type Summary struct {
	Domain    string `json:"domain"`
	Days      int    `json:"days"` // with reports, of the last 30
	Reporters int    `json:"reporters"`
	Reports   int64  `json:"reports"`
	Unproved  int64  `json:"unproved"` // reports of senders that are not proved
	Advice    string `json:"advice"`   // whole sentences
}

// domains returns those that there are reports on.
func (b *Book) domains(ctx context.Context, kind string) (list []addr.Domain, err error) {
	err = b.o.DB.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT DISTINCT domain FROM report_sum WHERE kind = ? ORDER BY domain`, kind)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var d addr.Domain
			if err := rows.Scan(&d); err != nil {
				return err
			}
			list = append(list, d)
		}
		return rows.Err()
	})
	return list, err
}

// each calls f with the domain, or with every one that there are reports on
// if it is empty.
func (b *Book) each(ctx context.Context, kind string, domain addr.Domain, f func(addr.Domain) error) error {
	list := []addr.Domain{domain}
	if domain == "" {
		var err error
		if list, err = b.domains(ctx, kind); err != nil {
			return err
		}
	}
	for _, d := range list {
		if err := f(d); err != nil {
			return err
		}
	}
	return nil
}

// summarize reads the sums of a domain, and hands each to add.
func (b *Book) summarize(ctx context.Context, kind string, domain addr.Domain, add func(detail []byte, n int64) error) (s Summary, err error) {
	s.Domain = string(domain)
	since := tlsrpt.Day(b.o.Clock.Now().Add(-window)).Unix()
	days, reporters := map[int64]bool{}, map[string]bool{}
	err = b.o.DB.View(ctx, func(tx *store.Tx) error {
		for proven, into := range []*int64{&s.Unproved, &s.Reports} {
			if err := tx.QueryRow(`SELECT COUNT(*) FROM report_seen WHERE kind = ? AND domain = ? AND ends >= ? AND proven = ?`,
				kind, string(domain), since, int64(proven)).Scan(into); err != nil {
				return err
			}
		}
		rows, err := tx.Query(`SELECT sender, day, detail, number FROM report_sum WHERE kind = ? AND domain = ? AND proven = 1 AND day >= ?`,
			kind, string(domain), since)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var sender string
			var day, n int64
			var detail []byte
			if err := rows.Scan(&sender, &day, &detail, &n); err != nil {
				return err
			}
			days[day], reporters[sender] = true, true
			if err := add(detail, n); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	s.Days, s.Reporters = len(days), len(reporters)
	return s, err
}

// waiting returns what to wait for before anything can be advised; empty if
// nothing.
func (s *Summary) waiting() string {
	switch {
	case s.Reports == 0 && s.Unproved > 0:
		return "There are reports, but nothing proves whom they are from, so no advice is given on them."
	case s.Reports == 0:
		return "There are no reports yet. They come a day or two after the DNS asks for them."
	case s.Days < enoughDays:
		return fmt.Sprintf("Wait: there are reports of %d of the last 30 days; decide when there are %d.", s.Days, enoughDays)
	}
	return ""
}

// TLS is what TLS reports on a domain come to.
type TLS struct {
	Summary
	Succeeded int64        `json:"succeeded"` // sessions
	Failed    int64        `json:"failed"`
	Failures  []TLSFailure `json:"failures"` // the most frequent first
}

// TLSFailure is what failed alike.
type TLSFailure struct {
	Sessions
	Failed int64  `json:"failed"`
	Advice string `json:"advice"`
}

// TLS calls f with what is known of a domain, or of all if it is empty.
func (b *Book) TLS(ctx context.Context, domain addr.Domain, f func(TLS) error) error {
	return b.each(ctx, kindTLS, domain, func(d addr.Domain) error {
		t := TLS{Failures: []TLSFailure{}}
		failed := map[Sessions]int64{}
		sts := false
		var err error
		t.Summary, err = b.summarize(ctx, kindTLS, d, func(detail []byte, n int64) error {
			var s Sessions
			if err := json.Unmarshal(detail, &s); err != nil {
				return err
			}
			sts = sts || s.Policy == string(tlsrpt.STS)
			if s.Result == "" {
				t.Succeeded += n
				return nil
			}
			t.Failed += n
			failed[s] += n
			return nil
		})
		if err != nil {
			return err
		}
		for s, n := range failed {
			t.Failures = append(t.Failures, TLSFailure{s, n, tlsAdvice(s)})
		}
		slices.SortFunc(t.Failures, func(a, b TLSFailure) int {
			return cmp.Or(cmp.Compare(b.Failed, a.Failed), cmp.Compare(a.Result, b.Result), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Reason, b.Reason))
		})
		t.Failures = t.Failures[:min(len(t.Failures), maxShown)]
		t.Advice = t.advice(sts)
		return f(t)
	})
}

func (t *TLS) advice(sts bool) string {
	if wait := t.waiting(); wait != "" {
		return wait
	}
	switch {
	case t.Failed > 0:
		return "Some servers do not reach this domain safely. Mend what is listed before MTA-STS goes to enforce, or they cannot deliver. It is safe when 30 days pass without a failure."
	case sts:
		return "All servers that report reach this domain safely. If its MTA-STS policy is in testing, it is safe to move it to enforce."
	}
	return "All servers that report reach this domain safely. Publish an MTA-STS policy, in testing first, so that they must."
}

// tlsAdvice says what to do about a failure.
func tlsAdvice(s Sessions) string {
	switch tlsrpt.Result(s.Result) {
	case tlsrpt.NoSTARTTLS:
		return "The host did not offer STARTTLS, or somebody on the way took it out. If it does offer it, somebody listens there."
	case tlsrpt.HostMismatch:
		return "The certificate is not for the name of the host in the MX record. Get one that is."
	case tlsrpt.Expired:
		return "The certificate had expired. Renew it."
	case tlsrpt.NotTrusted:
		return "The certificate is not of an authority that senders trust. Get one by ACME."
	case tlsrpt.TLSAInvalid:
		return "The TLSA records do not match the certificate. Publish those of the key in use, a day before the key changes."
	case tlsrpt.DNSSECInvalid:
		return "The signatures of the domain in the DNS could not be verified. Ask whoever signs the zone."
	case tlsrpt.STSFetchError:
		return "The MTA-STS policy could not be fetched. See that https://mta-sts.DOMAIN/.well-known/mta-sts.txt answers."
	case tlsrpt.STSInvalid:
		return "The MTA-STS policy could not be read. Compare it with what gatepost dns prints."
	case tlsrpt.STSWebPKIInvalid:
		return "The web server of the MTA-STS policy has no valid certificate. Renew it."
	}
	return "The reporter says no more than that TLS failed."
}
