package control

import (
	"context"
	"encoding/json"
	"time"

	"gatepost/internal/signing"
)

// KeyInfo is what an operator sees of a key that a domain signs with.
type KeyInfo struct {
	Selector string        `json:"selector"`
	State    signing.State `json:"state"`
	Record   string        `json:"record"` // text of the TXT record
	Made     time.Time     `json:"made"`
	Seen     *time.Time    `json:"seen"` // since when the DNS shows it
	Gone     *time.Time    `json:"gone"` // when the record may be removed
}

// listKeys lists the keys of a domain of ours. One that has none gets them.
func (d *Desk) listKeys(ctx context.Context, a Name, emit Emit) error {
	name, err := parseDomain(a.Name)
	if err != nil {
		return err
	}
	if _, err := d.Directory.Domain(ctx, name); err != nil {
		return err
	}
	list, err := d.Signing.Of(ctx, name)
	for i := range list {
		k := &list[i]
		if err := emit(KeyInfo{
			Selector: k.Selector, State: k.State(), Record: k.Record, Made: k.Made, Seen: moment(k.Seen), Gone: moment(k.Gone),
		}, nil); err != nil {
			return err
		}
	}
	return err
}

// moment is nil for the zero time.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// KeyOf reads what domain.keys lists.
func KeyOf(it Item) (info KeyInfo, err error) {
	err = json.Unmarshal(it.JSON, &info)
	return info, err
}
