package hook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Bounds of one post.
const (
	answerTime     = 15 * time.Second // for all of it
	maxAnswer      = 4 << 10          // octets of the answer that are read
	maxAnswerField = 16 << 10         // octets of its header
	idleConn       = 30 * time.Second // how long a connection is kept
)

// Sink is where events go.
type Sink struct {
	url    string
	secret []byte
	http   *http.Transport
	fault  error // why it cannot be used, if it cannot

	patience time.Duration // answerTime
}

// SinkOptions are how a sink is reached. All but Roots are required.
type SinkOptions struct {
	URL    string
	Secret []byte
	// Dial opens a connection to a host and port. It decides what may be
	// reached, and over what: whoever owns the name of the host could make us
	// talk to our own network.
	Dial  func(ctx context.Context, network, address string) (net.Conn, error)
	Roots *x509.CertPool // who may vouch for the host; nil means the system's
	Now   func() time.Time
}

// Broken returns a sink that nothing can be handed to, for a reason: what it
// is to be told waits.
func Broken(why error) *Sink { return &Sink{fault: why} }

// NewSink returns a sink.
func NewSink(o SinkOptions) *Sink {
	return &Sink{url: o.URL, secret: o.Secret, patience: answerTime, http: &http.Transport{
		DialContext:            o.Dial,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.Roots, Time: o.Now},
		MaxConnsPerHost:        1,
		IdleConnTimeout:        idleConn,
		MaxResponseHeaderBytes: maxAnswerField,
	}}
}

// Bounds of a secret, in octets: as Standard Webhooks asks.
const (
	minSecret = 24
	maxSecret = 64
)

// secretPrefix may stand before a secret.
const secretPrefix = "whsec_"

// ParseSecret reads a secret as its file holds it: base64, with or without
// whsec_ before it. Errors do not say what is in the file.
func ParseSecret(s string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(strings.TrimSpace(s), secretPrefix))
	if err != nil || len(b) < minSecret || len(b) > maxSecret {
		return nil, fmt.Errorf("it must hold %d to %d random octets in base64; to make one: openssl rand -base64 32", minSecret, maxSecret)
	}
	return b, nil
}

// sign returns webhook-signature: over id, time and body, so that whoever
// overhears one can neither change it nor send it again later.
func sign(secret []byte, id, at string, body []byte) string {
	h := hmac.New(sha256.New, secret)
	io.WriteString(h, id+"."+at+".")
	h.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// refusal is what a sink says to one event, while it says nothing of the sink.
type refusal int

func (r refusal) Error() string { return "the receiver answers " + strconv.Itoa(int(r)) }

// errIll is what it says of itself.
var errIll = errors.New("the receiver cannot take anything now")

// post hands one event over. A refusal is about the event, any other error
// about the sink.
func (s *Sink) post(ctx context.Context, now time.Time, e *event) error {
	if s.fault != nil {
		return s.fault
	}
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(e.body))
	if err != nil {
		return err
	}
	at := strconv.FormatInt(now.Unix(), 10)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "Gatepost")
	r.Header.Set("Webhook-Id", e.name)
	r.Header.Set("Webhook-Timestamp", at)
	r.Header.Set("Webhook-Signature", sign(s.secret, e.name, at, e.body))
	// The transport itself follows nothing: a redirect could lead anywhere.
	answer, err := s.http.RoundTrip(r)
	if err != nil {
		return err
	}
	// What it says beside the status is not of interest; to read a little lets
	// the connection serve again.
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer))
	answer.Body.Close()
	switch code := answer.StatusCode; {
	case code/100 == 2:
		return nil
	case code/100 == 5, code == http.StatusTooManyRequests, code == http.StatusRequestTimeout:
		return fmt.Errorf("%w: it answers %d", errIll, code)
	default:
		return refusal(code)
	}
}

// close gives connections back.
func (s *Sink) close() {
	if s.http != nil {
		s.http.CloseIdleConnections()
	}
}
