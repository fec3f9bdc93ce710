package courier

import (
	"context"
	"fmt"
	"io"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/aggregate"
	"gatepost/internal/dmarc"
)

// names are what DMARC reports are about: domains in whose name mail came.
type names struct{ o Options }

func (n names) kind() Kind { return DMARC }

func (n names) domains(ctx context.Context, day time.Time) ([]string, error) {
	return n.o.Mail.Domains(ctx, day)
}

// destinations asks the record of now: that one says who wants reports.
func (n names) destinations(ctx context.Context, domain string) (to, refused []destination, err error) {
	record, err := dmarc.Lookup(ctx, n.o.Resolver, addr.Domain(domain))
	switch {
	case err != nil:
		return nil, nil, err
	case record == nil: // it wants none any more
		return nil, nil, nil
	}
	list, strangers, err := dmarc.Destinations(ctx, n.o.Resolver, addr.Domain(domain), record.Aggregate, false, maxTo)
	for _, d := range list {
		to = append(to, destination{mail: d.To, limit: d.Limit})
	}
	for _, a := range strangers {
		refused = append(refused, destination{mail: a})
	}
	return to, refused, err
}

// compose makes the report. Its id stays the same however often it is sent,
// and is never that of another.
func (n names) compose(ctx context.Context, e errand) (report, error) {
	seen, err := n.o.Mail.Of(ctx, e.day, e.domain)
	if err != nil {
		return report{}, err
	}
	host := string(n.o.Hostname)
	r := &aggregate.Report{
		Organization: host, Email: "postmaster@" + host, ID: e.id(n.o.Hostname), Generator: "Gatepost",
		Begin: e.day.UTC(), End: e.day.UTC().Add(24*time.Hour - time.Second),
		Policy: seen.Policy, Rows: seen.Rows,
	}
	if seen.More > 0 {
		r.Errors = []string{fmt.Sprintf("%d messages more are not told of, for want of room", seen.More)}
	}
	return report{message: func(w io.Writer, l letter) error {
		return aggregate.WriteMessage(w, r, aggregate.Letter{
			From: l.from, To: l.to, Submitter: l.submitter, Date: l.date, Random: l.random,
		})
	}}, nil
}
