package grant

import (
	"time"

	"gatepost/internal/oauth"
	"gatepost/internal/store"
)

// row is a grant with what only the package sees.
type row struct {
	Grant
	refresh []byte // sum of the refresh token that is good
	frozen  bool   // its account is
}

const columns = `g.id, g.account, a.domain, a.local, a.frozen, g.client, g.name, g.send, g.reading, g.refresh, g.created, g.used, g.ends
	FROM oauth_grant g JOIN account a ON a.id = g.account WHERE `

type scanner interface{ Scan(dest ...any) error }

func scan(s scanner) (r row, err error) {
	var frozen, send, read, created, used, ends int64
	err = s.Scan(&r.ID, &r.Owner.ID, &r.Owner.Address.Domain, &r.Owner.Address.Local, &frozen, &r.Client, &r.Name, &send, &read,
		&r.refresh, &created, &used, &ends)
	r.frozen, r.Scope = frozen != 0, oauth.Scope{Send: send != 0, Read: read != 0}
	r.Created, r.Used, r.Ends = moment(created), moment(used), moment(ends)
	return r, err
}

func moment(unix int64) time.Time { return time.Unix(unix, 0).UTC() }

func readGrant(tx *store.Tx, where string, args ...any) (row, error) {
	return scan(tx.QueryRow(`SELECT `+columns+where, args...))
}

func readGrants(tx *store.Tx, where string, args ...any) (list []Grant, err error) {
	rows, err := tx.Query(`SELECT `+columns+where+` ORDER BY g.id`, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		r, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, r.Grant)
	}
	return list, rows.Err()
}

func readToken(tx *store.Tx, s sum) (t Token, err error) {
	var send, read, expires int64
	err = tx.QueryRow(`SELECT t.send, t.reading, t.expires, g.id, g.name, g.account, a.domain, a.local
		FROM oauth_access t JOIN oauth_grant g ON g.id = t.grant_id JOIN account a ON a.id = g.account WHERE t.token = ?`, s[:]).
		Scan(&send, &read, &expires, &t.Grant, &t.Name, &t.Owner.ID, &t.Owner.Address.Domain, &t.Owner.Address.Local)
	t.Scope, t.Expires = oauth.Scope{Send: send != 0, Read: read != 0}, moment(expires)
	return t, err
}

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
