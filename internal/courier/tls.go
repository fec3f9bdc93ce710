package courier

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"gatepost/internal/tlsrpt"
)

// sessions are what TLS reports are about.
type sessions struct{ o Options }

func (s sessions) kind() Kind { return TLS }

func (s sessions) domains(ctx context.Context, day time.Time) ([]string, error) {
	return s.o.Tally.Domains(ctx, day)
}

func (s sessions) destinations(ctx context.Context, domain string) (to, refused []destination, err error) {
	record, err := tlsrpt.LookupRecord(ctx, s.o.Resolver, domain)
	switch {
	case errors.Is(err, tlsrpt.ErrNoRecord), errors.Is(err, tlsrpt.ErrRecord):
		return nil, nil, nil // it wants none
	case err != nil:
		return nil, nil, err
	}
	seen := map[destination]bool{}
	for _, d := range record.RUA { // RFC 8460, section 3: to each of them
		one := destination{url: d.URL, mail: d.Mail}
		if !seen[one] && len(to) < maxTo {
			seen[one] = true
			to = append(to, one)
		}
	}
	return to, nil, nil
}

// compose makes the report. Its id stays the same however often it is sent,
// and is never that of another.
func (s sessions) compose(ctx context.Context, e errand) (report, error) {
	sums, err := s.o.Tally.Of(ctx, e.day, e.domain)
	if err != nil {
		return report{}, err
	}
	host := string(s.o.Hostname)
	who := tlsrpt.Report{Organization: host, Contact: "postmaster@" + host, ID: e.id(s.o.Hostname)}
	r := tlsrpt.Compose(who, e.day, sums)
	var packed bytes.Buffer
	if err := r.Write(&packed); err != nil {
		return report{}, err
	}
	return report{packed.Bytes(), func(w io.Writer, l letter) error {
		return tlsrpt.WriteMessage(w, r, tlsrpt.Letter{
			From: l.from, To: l.to, Submitter: l.submitter, About: e.domain, Date: l.date, Random: l.random,
		})
	}}, nil
}
