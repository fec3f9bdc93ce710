package main

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"software.sslmate.com/src/go-pkcs12"

	"gatepost/internal/control"
)

func (a *app) clientCertificate() *cobra.Command {
	return a.group("certificate", "The certificates that programs and devices sign in with",
		a.certificateIssue(),
		a.listOfDevices("account.certificate.list", "List the certificates of an account"),
		a.certificateRevoke())
}

// newCertificate says what a certificate is for and where it goes.
type newCertificate struct {
	terms    termFlags
	p12, pem string
	request  string
	stdin    bool
	json     bool
}

func (a *app) certificateIssue() *cobra.Command {
	var n newCertificate
	c := &cobra.Command{
		Use:   "issue ADDRESS NAME",
		Short: "Issue a certificate to one device or program",
		Long: `Issue a certificate with which one device or program signs in without any
password (SASL EXTERNAL). --out writes it with its new key into a file that mail
programs and phones take (PKCS #12), under a password that is shown, this once;
--pem writes both without one, for programs on servers. With --csr the device
keeps its key, and --pem writes the certificate alone. docs/devices.md tells how
to put it where it belongs.`,
		Example: `  gatepost account certificate issue anna@example.org laptop --out laptop.p12
  gatepost account certificate issue anna@example.org backup --scope send --csr backup.csr --pem backup.pem`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error { return a.issue(c, &n, args[0], args[1]) },
	}
	n.terms.flags(c, "a year, if it is not given, and two at most")
	c.Flags().StringVar(&n.p12, "out", "", "a new `FILE` for certificate and key, as PKCS #12")
	c.Flags().StringVar(&n.pem, "pem", "", "a new `FILE` for them in PEM, not encrypted")
	c.Flags().StringVar(&n.request, "csr", "", "a `FILE` with a request of the device's own (PKCS #10)")
	c.Flags().BoolVar(&n.stdin, "password-stdin", false, "read the password for --out from standard input, instead of having one made")
	jsonFlag(c, &n.json)
	c.MarkFlagsOneRequired("out", "pem")
	c.MarkFlagsMutuallyExclusive("out", "pem")
	c.MarkFlagsMutuallyExclusive("out", "csr")
	c.MarkFlagsMutuallyExclusive("pem", "password-stdin")
	return c
}

// issue has a certificate issued and writes it down. The key is made here, and
// the server never sees it.
func (a *app) issue(c *cobra.Command, n *newCertificate, address, name string) (err error) {
	t, err := n.terms.terms(time.Now())
	if err != nil {
		return err
	}
	made := made{address: address, name: name}
	if err := made.ask(n); err != nil {
		return err
	}
	if err := made.choosePassword(c, n); err != nil {
		return err
	}
	// Before anything is issued: a file that is there already may be a key.
	path := cmp.Or(n.p12, n.pem)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			os.Remove(path)
		}
	}()
	issue := control.CertificateIssue{DeviceAdd: control.DeviceAdd{Address: address, Name: name, Terms: t}, Request: made.request}
	return show(a, c, "account.certificate.issue", issue, false, func(i control.DeviceInfo) error {
		if err := made.write(f, n, i); err != nil {
			return fmt.Errorf("it was issued and could not be written; revoke it with: gatepost account certificate revoke %s %d: %w", address, i.ID, err)
		}
		return made.tell(c.OutOrStdout(), n, i)
	})
}

// made is a certificate that is being made.
type made struct {
	address, name string
	request       []byte
	key           *ecdsa.PrivateKey // nil: the device has it
	password      string            // of the file
}

// ask makes the request, with a new key if the device did not make its own.
func (m *made) ask(n *newCertificate) (err error) {
	if n.request != "" {
		f, err := os.Open(n.request)
		if err != nil {
			return err
		}
		defer f.Close()
		m.request, err = io.ReadAll(io.LimitReader(f, maxRequest))
		return err
	}
	if m.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	m.request, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, m.key)
	return err
}

// maxRequest bounds what is read of a request, in octets.
const maxRequest = 1 << 20

func (m *made) choosePassword(c *cobra.Command, n *newCertificate) (err error) {
	switch {
	case n.p12 == "":
	case n.stdin:
		if m.password, err = password(c, true); err == nil && m.password == "" {
			err = errors.New("the password is empty")
		}
	default:
		m.password = rand.Text()
	}
	return err
}

// fileIterations is the PBKDF2 count of a file whose password somebody chose.
const fileIterations = 100_000

// write writes the certificate, its issuer's, and its key if we have it.
func (m *made) write(w io.Writer, n *newCertificate, i control.DeviceInfo) error {
	leaf, err := x509.ParseCertificate(i.Certificate)
	if err != nil {
		return err
	}
	issuer, err := x509.ParseCertificate(i.Authority)
	if err != nil {
		return err
	}
	var b []byte
	if n.p12 != "" {
		// Phones and Apple's key chain read only the old form, whose way from a
		// password to a key is quick. One of ours cannot be guessed, and is not
		// harmed by that; one that somebody chose can, and gets the new form.
		encoder := pkcs12.LegacyDES
		if n.stdin {
			encoder = pkcs12.Modern2023.WithIterations(fileIterations)
		}
		b, err = encoder.Encode(m.key, leaf, []*x509.Certificate{issuer}, m.password)
	} else {
		b, err = m.pem(leaf, issuer)
	}
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

func (m *made) pem(leaf, issuer *x509.Certificate) ([]byte, error) {
	var b bytes.Buffer
	if m.key != nil {
		der, err := x509.MarshalPKCS8PrivateKey(m.key)
		if err != nil {
			return nil, err
		}
		if err := pem.Encode(&b, &pem.Block{Type: "PRIVATE KEY", Bytes: der}); err != nil {
			return nil, err
		}
	}
	for _, c := range []*x509.Certificate{leaf, issuer} {
		if err := pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// tell says what was issued, and the password that nobody knows yet.
func (m *made) tell(out io.Writer, n *newCertificate, i control.DeviceInfo) error {
	i.Certificate, i.Authority = nil, nil
	if n.p12 != "" && !n.stdin {
		i.Password = m.password
	}
	if n.json {
		return printJSON(out, i)
	}
	fmt.Fprintf(out, "Issued certificate %d of %s to %s, until %s: %s\n",
		i.ID, escape(m.address), escape(m.name), i.Expires.Format("2006-01-02 15:04 UTC"), escape(cmp.Or(n.p12, n.pem)))
	if i.Password != "" {
		fmt.Fprintf(out, "The password of the file, which is shown only now:\n\n    %s\n\n", i.Password)
	}
	fmt.Fprintf(out, "To revoke it: gatepost account certificate revoke %s %d\n", escape(m.address), i.ID)
	return nil
}

func (a *app) certificateRevoke() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke ADDRESS CERTIFICATE",
		Short: "Make a certificate open nothing any more; CERTIFICATE is its number or name. Its sessions end at once",
		Args:  cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return a.do(c, "account.certificate.revoke", control.DeviceName{Address: args[0], Device: args[1]},
				"Revoked the certificate of "+args[1]+"; its sessions are ended.")
		},
	}
}
