package operate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gatepost/internal/addr"
	"gatepost/internal/audit"
	"gatepost/internal/config"
	"gatepost/internal/control"
	"gatepost/internal/daemon/datadir"
)

// Setup is what a new installation needs to know.
type Setup struct {
	Dir      string
	Hostname string
	Domain   string
	Account  string
	Password string
}

// fileText is the configuration that a new installation begins with.
const fileText = `# Gatepost. Every setting: docs/config.md. After a change: gatepost check,
# then send the server SIGHUP.

hostname = %q
data     = "."                 # relative to this file

[tls]
self_signed = true             # better: acme = "https://…/directory", or certificate and key

# A network whose machines may send without signing in:
# [relay]
# networks = ["192.0.2.0/24"]

# Everything that leaves, through another server:
# [[route]]
# domain = "*"
# via    = "smtp.example.net:587"
# user   = "…"
# password_file = "smarthost.password"
`

// Init makes an installation and returns its configuration and the DNS
// records that its domain needs. It changes nothing that exists.
func Init(ctx context.Context, s Setup) (*config.Config, []audit.Record, error) {
	domain, account, err := s.parse()
	if err != nil {
		return nil, nil, err
	}
	if err := datadir.Prepare(s.Dir); err != nil {
		return nil, nil, err
	}
	path := filepath.Join(s.Dir, "gatepost.toml")
	text := fmt.Sprintf(fileText, s.Hostname)
	cfg, err := config.Parse(path, []byte(text))
	if err != nil {
		return nil, nil, err
	}
	if err := WriteNew(path, text); err != nil {
		return nil, nil, err
	}
	if err := Fill(ctx, cfg, string(domain), account.String(), s.Password); err != nil {
		return nil, nil, errors.Join(err, os.Remove(path))
	}
	list, err := Records(ctx, cfg, domain)
	return cfg, list, err
}

// parse checks everything before anything is made.
func (s Setup) parse() (addr.Domain, addr.Address, error) {
	domain, err := addr.ParseDomain(s.Domain)
	if err != nil {
		return "", addr.Address{}, fmt.Errorf("--domain: %q is not a domain", s.Domain)
	}
	account, err := addr.Parse(s.Account)
	if err != nil {
		return "", addr.Address{}, fmt.Errorf("--account: %q is not an address: %w", s.Account, err)
	}
	if account.Domain != domain {
		return "", addr.Address{}, fmt.Errorf("--account: %s is not in the domain %s", account.Unicode(), domain.Unicode())
	}
	if !strings.Contains(s.Hostname, ".") {
		return "", addr.Address{}, fmt.Errorf("--hostname: %q is not a full host name such as mx.%s", s.Hostname, domain.Unicode())
	}
	return domain, account, nil
}

// WriteNew writes a file that must not exist.
func WriteNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s exists already; there is an installation here", path)
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// Fill makes the first domain and account of an installation, or neither.
func Fill(ctx context.Context, cfg *config.Config, domain, account, password string) error {
	op, err := Open(ctx, cfg)
	if err != nil {
		return err
	}
	do := func(verb string, args any) error {
		return op.Do(ctx, verb, args, func(control.Item) error { return nil })
	}
	if err = do("domain.add", control.Name{Name: domain}); err == nil {
		if err = do("account.add", control.AccountAdd{Address: account, Password: password, Role: "admin"}); err != nil {
			err = errors.Join(err, do("domain.remove", control.DomainRemove{Name: domain}))
		}
	}
	return errors.Join(err, op.Close())
}
