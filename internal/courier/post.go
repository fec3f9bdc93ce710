package courier

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"gatepost/internal/clock"
)

// Bounds of one hand-over.
const (
	postTime       = time.Minute
	maxAnswer      = 64 << 10 // octets of the response that are read
	maxAnswerField = 16 << 10 // octets of its header
)

// Poster hands TLS reports over by HTTPS: RFC 8460, section 5.4. All fields but
// Roots are required.
type Poster struct {
	// Dial opens a connection to a host and port. It decides what may be
	// reached: a domain that wants to make us talk to our own network names
	// its URL accordingly.
	Dial  func(ctx context.Context, network, address string) (net.Conn, error)
	Roots *x509.CertPool // who may vouch for the host; nil means the system's
	Clock clock.Clock
}

// Post hands a packed report over.
func (p *Poster) Post(ctx context.Context, url string, report []byte) error {
	ctx, cancel := context.WithTimeout(ctx, postTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(report))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/tlsrpt+gzip")
	r.Header.Set("User-Agent", "Gatepost")
	transport := &http.Transport{
		DialContext:            p.Dial,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: p.Roots, Time: p.Clock.Now},
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: maxAnswerField,
	}
	// The transport itself follows nothing: a redirect could lead anywhere.
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer)); err != nil {
		return err
	}
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("the server answers %d", answer.StatusCode)
	}
	return nil
}
