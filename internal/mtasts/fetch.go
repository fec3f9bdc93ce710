package mtasts

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
	"time"

	"gatepost/internal/clock"
)

// Bounds of a fetch.
const (
	FetchTimeout = time.Minute // RFC 8461, section 3.3
	maxHeader    = 16 << 10    // octets of the HTTP response's header
)

// Errors of Fetch, beside ErrPolicy: what a report says of them differs (RFC
// 8460, section 4.3.2.2).
var (
	// ErrFetch: the policy cannot be had.
	ErrFetch = errors.New("the MTA-STS policy cannot be fetched")
	// ErrCertificate: whoever answers cannot prove to be the policy host.
	ErrCertificate = errors.New("the certificate of the MTA-STS policy host is not valid")
)

// Fetcher fetches policies over HTTPS. All fields but Roots are required.
type Fetcher struct {
	// Dial opens a connection to a host and port. It decides what may be
	// reached: domains that want to make us talk to our own network name
	// their policy host accordingly.
	Dial  func(ctx context.Context, network, address string) (net.Conn, error)
	Roots *x509.CertPool // who may vouch for a policy host; nil means the system's
	Clock clock.Clock
}

// Fetch gets the policy of a domain.
func (f *Fetcher) Fetch(ctx context.Context, domain string) (Policy, error) {
	ctx, cancel := context.WithDeadline(ctx, f.Clock.Now().Add(FetchTimeout))
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://mta-sts."+domain+"/.well-known/mta-sts.txt", nil)
	if err != nil {
		return Policy{}, fmt.Errorf("%w: %w", ErrFetch, err)
	}
	r.Header.Set("User-Agent", "Gatepost")
	transport := f.transport()
	defer transport.CloseIdleConnections()
	// The transport itself follows nothing: RFC 8461, section 3.3 forbids
	// redirects, since they would let an open redirector on the policy host
	// speak for the domain.
	response, err := transport.RoundTrip(r)
	if err != nil {
		return Policy{}, classify(err)
	}
	defer response.Body.Close()
	return read(response)
}

// transport returns one that is used for a single request: no proxy, no
// cache, no compression (a bomb), no kept connections.
func (f *Fetcher) transport() *http.Transport {
	return &http.Transport{
		DialContext: f.Dial,
		// RFC 8461, section 3.3: the certificate is for the policy host, and
		// vouched for by somebody whom we trust.
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: f.Roots, Time: f.Clock.Now},
		TLSHandshakeTimeout:    FetchTimeout,
		ResponseHeaderTimeout:  FetchTimeout,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true,
		DisableKeepAlives:      true,
	}
}

// classify tells a certificate that is not valid from everything else.
func classify(err error) error {
	var bad *tls.CertificateVerificationError
	if errors.As(err, &bad) {
		return fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	return fmt.Errorf("%w: %w", ErrFetch, err)
}

// read takes the policy out of a response.
func read(response *http.Response) (Policy, error) {
	if response.StatusCode != http.StatusOK {
		return Policy{}, fmt.Errorf("%w: status %d", ErrFetch, response.StatusCode)
	}
	// RFC 8461, section 3.2: so that a page which users may write is not
	// taken for a policy.
	kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err != nil || !strings.EqualFold(kind, "text/plain") {
		return Policy{}, fmt.Errorf("%w: it is %q, not text/plain", ErrFetch, response.Header.Get("Content-Type"))
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, MaxSize+1))
	if err != nil {
		return Policy{}, fmt.Errorf("%w: %w", ErrFetch, err)
	}
	return ParsePolicy(string(text))
}
