package proof

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"gatepost/internal/store"
	"gatepost/internal/transport"
)

// Unverified is mail to one domain that one host took without having proved
// who it is: what a default of "verify" would have stopped.
type Unverified struct {
	Domain   string    `json:"domain"`
	Host     string    `json:"host"`
	TLS      bool      `json:"tls"`
	Met      string    `json:"met"`
	Messages int       `json:"messages"`
	Last     time.Time `json:"last"`
}

// maxUnverified bounds the kinds of unverified deliveries that are told apart.
const maxUnverified = 10_000

// Unverified returns the deliveries of the last 30 days to hosts that did not
// prove who they are, the most frequent first. Routes are left out: they have
// a level of their own. more tells how many deliveries found no room.
func (b *Book) Unverified(ctx context.Context) (list []Unverified, more int, err error) {
	b.Flush()
	type kind struct{ domain, host, met string }
	sums := map[kind]*Unverified{}
	count := func(recipients, host, met string, version, taken int64) {
		for _, domain := range domains(recipients) {
			k := kind{domain, host, met}
			u := sums[k]
			if u == nil && len(sums) >= maxUnverified {
				more++
				continue
			}
			if u == nil {
				u = &Unverified{Domain: domain, Host: host, Met: met}
				sums[k] = u
			}
			u.Messages++
			u.TLS = version != 0
			if at := unix(taken); at.After(u.Last) {
				u.Last = at
			}
		}
	}
	err = b.db.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT recipients, taken, host, version, met, policy FROM proof JOIN hop ON hop.id = proof.hop
			WHERE verified = 0 AND taken >= ?`, b.clock.Now().Add(-ProofLife).Unix())
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var (
				recipients, host, met, policy string
				taken, version                int64
			)
			if err := rows.Scan(&recipients, &taken, &host, &version, &met, &policy); err != nil {
				return err
			}
			if strings.HasPrefix(policy, string(transport.Route)) {
				continue
			}
			count(recipients, host, met, version, taken)
		}
		return rows.Err()
	})
	for _, u := range sums {
		list = append(list, *u)
	}
	slices.SortFunc(list, func(x, y Unverified) int {
		return cmp.Or(y.Messages-x.Messages, cmp.Compare(x.Domain, y.Domain), cmp.Compare(x.Host, y.Host), cmp.Compare(x.Met, y.Met))
	})
	return list, more, err
}

// domains returns the domains of a list of recipients, each once.
func domains(recipients string) (list []string) {
	for _, r := range split(recipients) {
		d := r[strings.LastIndexByte(r, '@')+1:]
		if !slices.Contains(list, d) {
			list = append(list, d)
		}
	}
	return list
}
