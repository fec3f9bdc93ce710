package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"gatepost/internal/account"
	"gatepost/internal/acme"
	"gatepost/internal/addr"
	"gatepost/internal/backup"
	"gatepost/internal/courier"
	"gatepost/internal/hostkey"
	"gatepost/internal/inspect"
	"gatepost/internal/mailbox"
	"gatepost/internal/mtasts"
	"gatepost/internal/proof"
	"gatepost/internal/queue"
	"gatepost/internal/reputation"
	"gatepost/internal/signing"
)

// Desk carries out the operator's verbs.
type Desk struct {
	Directory *account.Directory
	Boxes     *mailbox.Boxes
	Queue     *queue.Queue
	Signing   *signing.Ring
	Inspect   *inspect.Running
	Backup    *backup.Source
	Reports   *reputation.Book
	Courier   *courier.Courier
	Proofs    *proof.Book
	// Forget removes what is remembered of the level of TLS that a domain
	// reached; found tells whether there was anything.
	Forget func(ctx context.Context, domain string) (found bool, err error)
	// Promise returns the policy of a domain that publishes this mode.
	Promise func(mtasts.Mode) mtasts.Policy
	Host    *hostkey.Host
	// Certificates returns those that an authority issued.
	Certificates func(context.Context) ([]acme.Kept, error)
}

// verb is one thing that an operator can ask for.
type verb func(d *Desk, ctx context.Context, args json.RawMessage, emit Emit) error

var verbs = map[string]verb{
	"domain.add": with((*Desk).addDomain), "domain.list": with((*Desk).listDomains),
	"domain.show": with((*Desk).showDomain), "domain.set": with((*Desk).setDomain),
	"domain.remove": with((*Desk).removeDomain), "domain.keys": with((*Desk).listKeys),

	"account.add": with((*Desk).addAccount), "account.list": with((*Desk).listAccounts),
	"account.show": with((*Desk).showAccount), "account.set": with((*Desk).setAccount),
	"account.password": with((*Desk).setPassword), "account.remove": with((*Desk).removeAccount),
	"account.freeze": with((*Desk).freezeAccount), "account.release": with((*Desk).releaseAccount),

	"account.device.add": with((*Desk).addDevice), "account.device.list": with((*Desk).listDevices),
	"account.device.show": with((*Desk).showDevice), "account.device.remove": with((*Desk).removeDevice),
	"account.certificate.issue": with((*Desk).issueCertificate), "account.certificate.list": with((*Desk).listClientCertificates),
	"account.certificate.revoke": with((*Desk).revokeCertificate),
	"factor.list":                with((*Desk).listFactors), "factor.totp": with((*Desk).startTOTP),
	"factor.confirm": with((*Desk).confirmTOTP), "factor.codes": with((*Desk).makeCodes),
	"factor.remove": with((*Desk).removeFactor), "factor.sites": with((*Desk).listSites),

	"alias.add": with((*Desk).addAlias), "alias.list": with((*Desk).listAliases),
	"alias.show": with((*Desk).showAlias), "alias.set": with((*Desk).setAlias),
	"alias.remove": with((*Desk).removeAlias),

	"queue.list": with((*Desk).listQueue), "queue.show": with((*Desk).showQueued),
	"queue.retry": with((*Desk).retryQueued), "queue.hold": with((*Desk).holdQueued),
	"queue.release": with((*Desk).releaseQueued), "queue.drop": with((*Desk).dropQueued),

	"proof": with((*Desk).showProof), "proof.forget": with((*Desk).forgetLevel),
	"proof.unverified": with((*Desk).listUnverified),

	"mailbox.folders": with((*Desk).listFolders), "mailbox.list": with((*Desk).listMessages),
	"mailbox.show": with((*Desk).showMessage), "mailbox.export": with((*Desk).exportMailbox),
	"mailbox.import": with((*Desk).importMailbox),

	"certificate.list": with((*Desk).listCertificates), "certificate.host": with((*Desk).showHost),
	"certificate.roll": with((*Desk).rollHost),
	"reports.dmarc":    with((*Desk).reportsDMARC), "reports.tls": with((*Desk).reportsTLS),
	"reports.sent": with((*Desk).reportsSent),

	"check.deep": with((*Desk).checkDeep), "backup": with((*Desk).makeBackup),
}

// Do carries out a verb. It is a Handler.
func (d *Desk) Do(ctx context.Context, name string, args json.RawMessage, emit Emit) error {
	v, ok := verbs[name]
	if !ok {
		return fmt.Errorf("the running server does not know %q; it may be older than this command", name)
	}
	return v(d, ctx, args, emit)
}

// with reads the arguments of a verb, strictly.
func with[A any](f func(*Desk, context.Context, A, Emit) error) verb {
	return func(d *Desk, ctx context.Context, raw json.RawMessage, emit Emit) error {
		var args A
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&args); err != nil {
			return fmt.Errorf("the running server does not understand this command; it may be of another version: %w", err)
		}
		return f(d, ctx, args, emit)
	}
}

// None are the arguments of a verb that has none.
type None struct{}

// Name is the argument of a verb about one thing: a domain, an address, an
// alias or a message id.
type Name struct {
	Name string `json:"name"`
}

func parseDomain(s string) (addr.Domain, error) {
	d, err := addr.ParseDomain(s)
	if err != nil {
		return "", fmt.Errorf("%q is not a domain: %w", s, err)
	}
	return d, nil
}

func parseAddress(s string) (addr.Address, error) {
	a, err := addr.Parse(strings.TrimSpace(s))
	if err != nil {
		return a, fmt.Errorf("%q is not an address: %w", s, err)
	}
	return a, nil
}
