package control

import (
	"context"

	"gatepost/internal/addr"
	"gatepost/internal/courier"
	"gatepost/internal/reputation"
)

func (d *Desk) reportsDMARC(ctx context.Context, a Name, emit Emit) error {
	name, err := reported(a)
	if err != nil {
		return err
	}
	return d.Reports.DMARC(ctx, name, func(s reputation.DMARC) error { return emit(s, nil) })
}

func (d *Desk) reportsTLS(ctx context.Context, a Name, emit Emit) error {
	name, err := reported(a)
	if err != nil {
		return err
	}
	return d.Reports.TLS(ctx, name, func(s reputation.TLS) error { return emit(s, nil) })
}

func (d *Desk) reportsSent(ctx context.Context, a Name, emit Emit) error {
	name, err := reported(a)
	if err != nil {
		return err
	}
	return d.Courier.Sent(ctx, name, func(s courier.Sent) error { return emit(s, nil) })
}

// reported returns the domain that is asked for, empty for all.
func reported(a Name) (addr.Domain, error) {
	if a.Name == "" {
		return "", nil
	}
	return parseDomain(a.Name)
}
