package activity

import (
	"context"
	"strings"
	"time"

	"gatepost/internal/store"
)

// AlertKind says what an alert is about. The names are a contract: webhooks
// carry them.
type AlertKind string

// The kinds of alerts.
const (
	Travel         AlertKind = "travel" // two countries in a time in which nobody travels
	NewCountry     AlertKind = "new-country"
	NewDevice      AlertKind = "new-device"
	NewNetwork     AlertKind = "new-network"
	OutdatedTLS    AlertKind = "old-tls"
	Failures       AlertKind = "failures"
	Stolen         AlertKind = "stolen-password"
	PasswordSet    AlertKind = "password"
	DeviceSet      AlertKind = "device-added"
	ForwardingSet  AlertKind = "forwarding"
	RecoverySet    AlertKind = "recovery"
	CertificateSet AlertKind = "certificate-issued"
	AccountFrozen  AlertKind = "frozen"
	AccountFreed   AlertKind = "released"
	GrantSet       AlertKind = "grant-added"
	TokenStolen    AlertKind = "token-reused"
	FactorSet      AlertKind = "factor-added"
	FactorGone     AlertKind = "factor-removed"
	CodeUsed       AlertKind = "recovery-code-used"
	CodesSet       AlertKind = "codes-made"
)

// aboutSignIns are the kinds that are bounded by maxNews; failures and stolen
// passwords have bounds of their own.
var aboutSignIns = []AlertKind{Travel, NewCountry, NewDevice, NewNetwork, OutdatedTLS}

// aboutChanges are bounded by maxChanges.
var aboutChanges = []AlertKind{
	PasswordSet, DeviceSet, ForwardingSet, RecoverySet, FactorSet, FactorGone, CodeUsed, CodesSet, CertificateSet, AccountFrozen, AccountFreed,
	GrantSet, TokenStolen,
}

// Alert is what the owner of an account is to be told.
type Alert struct {
	ID     int64
	Kind   AlertKind
	Event  Event    // what happened
	Detail string   // what is not usual about it
	Also   []string // addresses beside the account's that are told
	Last   bool     // no more of this sort are sent for a day
	Made   time.Time
}

// alert makes an alert, if there is room for it today.
func (b *Book) alert(tx *store.Tx, kind AlertKind, e *Event, detail string) error {
	group, most := aboutSignIns, int64(maxNews)
	if _, change := changes[e.Kind]; change {
		group, most = aboutChanges, maxChanges
	}
	n, err := countAlerts(tx, e.Owner, group, e.Last.Add(-24*time.Hour))
	bounded := kind != Failures && kind != Stolen // which have bounds of their own
	if err != nil || n >= most && bounded {
		return err
	}
	also, err := ReadRecovery(tx, e.Owner)
	if err != nil {
		return err
	}
	if kind == RecoverySet && e.Detail != "" && e.Detail != also { // the new one and the old one
		also = strings.TrimSpace(also + "\n" + e.Detail)
	}
	id, err := tx.NextID("activity_alert")
	if err != nil {
		return err
	}
	last := int64(0)
	if n == most-1 && bounded {
		last = 1
	}
	_, err = tx.Exec(`INSERT INTO activity_alert (id, owner, kind, event, detail, also, last, made, sent) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)`,
		id, e.Owner, string(kind), e.ID, detail, also, last, e.Last.Unix())
	return err
}

// countAlerts counts those of an account since a time.
func countAlerts(tx *store.Tx, owner int64, kinds []AlertKind, since time.Time) (n int64, err error) {
	for _, k := range kinds {
		var some int64
		if err := tx.QueryRow(`SELECT COUNT(*) FROM activity_alert WHERE owner = ? AND kind = ? AND made > ?`,
			owner, string(k), since.Unix()).Scan(&some); err != nil {
			return 0, err
		}
		n += some
	}
	return n, nil
}

// maxUnsent bounds the alerts that are read at a time.
const maxUnsent = 100

// Unsent returns alerts that were not sent yet, the oldest first.
func (b *Book) Unsent(ctx context.Context) (list []Alert, err error) {
	err = b.o.DB.View(ctx, func(tx *store.Tx) error {
		if list, err = readAlerts(tx); err != nil {
			return err
		}
		for i := range list {
			e, err := scan(tx.QueryRow(`SELECT `+columns+` FROM activity WHERE id = ?`, list[i].Event.ID))
			if err != nil {
				return err
			}
			list[i].Event = e
		}
		return nil
	})
	return list, err
}

func readAlerts(tx *store.Tx) (list []Alert, err error) {
	rows, err := tx.Query(`SELECT a.id, a.kind, a.event, a.detail, a.also, a.last, a.made FROM activity_alert a JOIN activity e ON e.id = a.event
		WHERE a.sent = 0 ORDER BY a.id LIMIT ?`, int64(maxUnsent))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var a Alert
		var also string
		var last, made int64
		if err := rows.Scan(&a.ID, &a.Kind, &a.Event.ID, &a.Detail, &also, &last, &made); err != nil {
			return nil, err
		}
		a.Also, a.Last, a.Made = lines(also), last != 0, time.Unix(made, 0).UTC()
		list = append(list, a)
	}
	return list, rows.Err()
}

// Sent notes that an alert was sent, in a transaction of its caller.
func (b *Book) Sent(tx *store.Tx, id int64) error {
	_, err := tx.Exec(`UPDATE activity_alert SET sent = ? WHERE id = ?`, b.o.Clock.Now().Unix(), id)
	return err
}

// ReadRecovery returns the address that is told beside the account's own;
// empty: none.
func ReadRecovery(tx *store.Tx, owner int64) (address string, err error) {
	err = tx.QueryRow(`SELECT COALESCE(MAX(address), '') FROM recovery WHERE account = ?`, owner).Scan(&address)
	return address, err
}

// SetRecovery sets it; empty: none.
func SetRecovery(tx *store.Tx, owner int64, address string) error {
	if _, err := tx.Exec(`DELETE FROM recovery WHERE account = ?`, owner); err != nil || address == "" {
		return err
	}
	_, err := tx.Exec(`INSERT INTO recovery (account, address) VALUES (?, ?)`, owner, address)
	return err
}

// lines splits what is kept one on a line.
func lines(s string) []string { return strings.FieldsFunc(s, func(r rune) bool { return r == '\n' }) }
