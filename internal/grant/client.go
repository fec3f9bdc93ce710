package grant

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"

	"gatepost/internal/activity"
	"gatepost/internal/oauth"
	"gatepost/internal/store"
)

// Client is a program, or all copies of it.
type Client struct {
	ID        string
	Name      string // what people are shown
	Redirects []string
	BuiltIn   bool
	Created   time.Time // of those that an operator registered
}

// builtIn are the programs that need no registration, because what they get
// can only reach the device of whoever consents: their redirects lead to that
// very machine. Anybody may call himself one of them, and the page says so.
var builtIn = []Client{
	{
		ID: "mail-program", Name: "a mail program", BuiltIn: true,
		Redirects: []string{
			"http://127.0.0.1", "http://[::1]", "http://localhost",
			"http://127.0.0.1/callback", "http://[::1]/callback", "http://localhost/callback",
		},
	},
	{
		// From version 140 on an add-on, or a policy, can name a provider to
		// it; it leads to https://localhost and looks at the address only.
		ID: "thunderbird", Name: "Thunderbird", BuiltIn: true,
		Redirects: []string{"https://localhost", "http://localhost", "http://127.0.0.1", "http://[::1]"},
	},
}

// Bounds of what an operator registers.
const (
	maxName      = 100 // octets
	maxID        = 100
	maxRedirects = 20
)

// Redirect returns whether a redirect is one of the client's.
func (c *Client) Redirect(asked string) bool {
	return slices.ContainsFunc(c.Redirects, func(r string) bool { return oauth.Matches(r, asked) })
}

// AddClient registers a program. Without an id it gets one.
func (b *Book) AddClient(ctx context.Context, c Client) (Client, error) {
	if err := b.checkClient(&c); err != nil {
		return c, err
	}
	c.Created = moment(b.o.Clock.Now().Unix())
	err := b.o.Store.Update(ctx, func(tx *store.Tx) error {
		list, err := readClients(tx)
		switch {
		case err != nil:
			return err
		case len(list) >= maxClients:
			return fmt.Errorf("there are %d clients, which is the most; remove one first", len(list))
		case slices.ContainsFunc(append(list, builtIn...), func(o Client) bool { return o.ID == c.ID }):
			return fmt.Errorf("there is a client %s already", c.ID)
		}
		_, err = tx.Exec(`INSERT INTO oauth_client (id, name, redirects, created) VALUES (?, ?, ?, ?)`,
			c.ID, c.Name, strings.Join(c.Redirects, "\n"), c.Created.Unix())
		return err
	})
	return c, err
}

func (b *Book) checkClient(c *Client) error {
	if c.Name == "" || len(c.Name) > maxName || strings.ContainsFunc(c.Name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("a client needs a name of at most %d octets, which people are shown", maxName)
	}
	if c.ID == "" {
		raw := make([]byte, 12)
		if _, err := io.ReadFull(b.o.Random, raw); err != nil {
			return err
		}
		c.ID = base64.RawURLEncoding.EncodeToString(raw)
	}
	if len(c.ID) > maxID || strings.ContainsFunc(c.ID, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return fmt.Errorf("the id of a client has at most %d characters of ASCII, and no spaces", maxID)
	}
	if len(c.Redirects) > maxRedirects {
		return fmt.Errorf("a client has at most %d redirects", maxRedirects)
	}
	for _, r := range c.Redirects {
		if err := oauth.CheckRedirect(r); err != nil {
			return fmt.Errorf("%q cannot be a redirect: %w", r, err)
		}
	}
	return nil
}

// Clients returns all programs, those that come along first.
func (b *Book) Clients(ctx context.Context) (list []Client, err error) {
	err = b.o.Store.View(ctx, func(tx *store.Tx) error {
		list, err = readClients(tx)
		return err
	})
	return slices.Concat(builtIn, list), err
}

// Client returns a program, ErrUnknown if there is none of that id.
func (b *Book) Client(ctx context.Context, id string) (Client, error) {
	list, err := b.Clients(ctx)
	if err != nil {
		return Client{}, err
	}
	for _, c := range list {
		if c.ID == id {
			return c, nil
		}
	}
	return Client{}, ErrUnknown
}

// RemoveClient removes a program that was registered, with all its grants.
func (b *Book) RemoveClient(ctx context.Context, id string, who activity.Client) error {
	if slices.ContainsFunc(builtIn, func(c Client) bool { return c.ID == id }) {
		return fmt.Errorf("%s comes with Gatepost and stays", id)
	}
	var ended []Grant
	err := b.o.Store.Update(ctx, func(tx *store.Tx) (err error) {
		n, err := tx.Exec(`DELETE FROM oauth_client WHERE id = ?`, id)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("there is no client %q", id)
		}
		if ended, err = readGrants(tx, `g.client = ?`, id); err != nil {
			return err
		}
		for i := range ended {
			if err := b.end(tx, &ended[i], activity.GrantRemoved, who); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		for _, g := range ended {
			b.o.Ended(g.Owner.Address, g.ID)
		}
	}
	return err
}

func readClients(tx *store.Tx) (list []Client, err error) {
	rows, err := tx.Query(`SELECT id, name, redirects, created FROM oauth_client ORDER BY id`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var c Client
		var redirects string
		var created int64
		if err := rows.Scan(&c.ID, &c.Name, &redirects, &created); err != nil {
			return nil, err
		}
		c.Created = moment(created)
		if redirects != "" {
			c.Redirects = strings.Split(redirects, "\n")
		}
		list = append(list, c)
	}
	return list, rows.Err()
}

// ErrGuesses says that somebody mistyped too many codes.
var ErrGuesses = errors.New("too many wrong codes")
