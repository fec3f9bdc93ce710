package reputation

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"gatepost/internal/addr"
	"gatepost/internal/store"
)

// DMARC is what reports on mail in a domain's name come to.
type DMARC struct {
	Summary
	Messages int64 `json:"messages"`
	Failed   int64 `json:"failed"`
	// Unclear are those failed messages that may well be the domain's own: a
	// stricter policy would harm them.
	Unclear  int64    `json:"unclear"`
	Failures int64    `json:"failure_reports"` // messages that failure reports tell of
	Policy   string   `json:"policy"`          // that the reporters found last; may be empty
	Next     string   `json:"next"`            // the stricter policy that it is safe to move to; empty: none
	Sources  []Source `json:"sources"`         // those whose mail fails first
}

// Source is one that sends mail in a domain's name.
type Source struct {
	Source   string `json:"source"` // its address; empty for all that there was no room to tell apart
	Via      string `json:"via,omitempty"`
	Messages int64  `json:"messages"`
	Failed   int64  `json:"failed"`
	Advice   string `json:"advice"`

	excused int64 // failed, and the reporter says that a list or forwarder is why
}

// DMARC calls f with what is known of a domain, or of all if it is empty.
func (b *Book) DMARC(ctx context.Context, domain addr.Domain, f func(DMARC) error) error {
	return b.each(ctx, kindDMARC, domain, func(d addr.Domain) error {
		s, err := b.dmarc(ctx, d)
		if err != nil {
			return err
		}
		return f(*s)
	})
}

func (b *Book) dmarc(ctx context.Context, d addr.Domain) (*DMARC, error) {
	s := &DMARC{Sources: []Source{}}
	sources := map[string]*Source{}
	var err error
	s.Summary, err = b.summarize(ctx, kindDMARC, d, func(detail []byte, n int64) error {
		var m Mail
		if err := json.Unmarshal(detail, &m); err != nil {
			return err
		}
		from := sources[m.Source]
		if from == nil {
			from = &Source{Source: m.Source}
			sources[m.Source] = from
		}
		from.add(m, n)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if _, err = b.summarize(ctx, kindFailure, d, func(_ []byte, n int64) error {
		s.Failures += n
		return nil
	}); err != nil {
		return nil, err
	}
	if s.Policy, err = b.policy(ctx, d); err != nil {
		return nil, err
	}
	for _, from := range sources {
		s.Messages += from.Messages
		s.Failed += from.Failed
		s.Unclear += from.unclear()
		from.Advice = from.advise(d)
		s.Sources = append(s.Sources, *from)
	}
	slices.SortFunc(s.Sources, func(a, b Source) int {
		return cmp.Or(cmp.Compare(b.Failed, a.Failed), cmp.Compare(b.Messages, a.Messages), cmp.Compare(a.Source, b.Source))
	})
	s.Sources = s.Sources[:min(len(s.Sources), maxShown)]
	s.advise()
	return s, nil
}

func (f *Source) add(m Mail, n int64) {
	f.Messages += n
	if m.DKIM || m.SPF {
		return
	}
	f.Failed += n
	if m.Via != "" {
		f.Via = m.Via
	}
	switch m.Override {
	case "forwarded", "mailing_list", "trusted_forwarder":
		f.excused += n
	}
}

// unclear returns how many of its failed messages may be the domain's own:
// where some of its mail passes, or somebody proved stands behind it.
func (f *Source) unclear() int64 {
	if f.Failed < f.Messages || f.Via != "" {
		return f.Failed - f.excused
	}
	return 0
}

func (f *Source) advise(d addr.Domain) string {
	switch {
	case f.Failed == 0:
		return "All of its mail passes."
	case f.excused == f.Failed:
		return "It forwards mail, or is a mailing list: nothing is to be done."
	case f.Failed < f.Messages:
		return fmt.Sprintf("Some of its mail passes, so it may well be yours: see that all of it is signed for %s.", d)
	case f.Via != "":
		return fmt.Sprintf("%s sends it, but not in a way that proves %s. If it sends for you, have it sign with a key of %s; if it is a forwarder or not yours, do nothing.", f.Via, d, d)
	}
	return "Nothing shows that it is yours. If it is, have it sign or add it to SPF; if not, this is what a stricter policy stops."
}

// policy returns the policy that reporters found last.
func (b *Book) policy(ctx context.Context, d addr.Domain) (p string, err error) {
	err = b.o.DB.View(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT policy FROM report_seen WHERE kind = ? AND domain = ? AND proven = 1 ORDER BY ends DESC LIMIT 1`,
			kindDMARC, string(d)).Scan(&p)
	})
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	return p, err
}

// advise says which policy it is safe to move to, or what stands in its way.
func (s *DMARC) advise() {
	next := map[string]string{"none": "quarantine", "": "quarantine", "quarantine": "reject"}[s.Policy]
	if s.Advice = s.waiting(); s.Advice != "" {
		return
	}
	switch {
	case next == "":
		s.Advice = "The policy is as strict as it can be."
	case s.Unclear*maxShare > s.Messages:
		s.Advice = fmt.Sprintf("Stay: %d of %d messages fail that may well be yours. Look at the sources below; it is safe to move to p=%s when less than 1 in %d does.",
			s.Unclear, s.Messages, next, maxShare)
	default:
		s.Next = next
		s.Advice = fmt.Sprintf("It is safe to move to p=%s: of what may be yours, %d of %d messages fail. It would stop %d others.",
			next, s.Unclear, s.Messages, s.Failed-s.Unclear)
	}
}
