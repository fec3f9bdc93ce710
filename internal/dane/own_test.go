package dane

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"gatepost/internal/resolve"
)

// What we publish ourselves counts with DNSSEC and without; and when nobody
// can say, that is not "none".
func TestLook(t *testing.T) {
	t.Parallel()
	digest := strings.Repeat("ab", 32)
	r := resolve.NewFake(`
_25._tcp.signed.example. 7200 TLSA 3 1 1 ` + digest + `
_25._tcp.unsigned.example. 7200 TLSA 3 1 1 ` + digest + `
_25._tcp.useless.example. 7200 TLSA 1 1 1 ` + digest + `
_465._tcp.signed.example. CNAME _25._tcp.signed.example.
mx.none.example. A 192.0.2.1
`)
	r.Secure = true
	r.Unsign("unsigned.example")
	r.Fail("_25._tcp.broken.example", dns.TypeTLSA, resolve.ErrBogus)
	for _, tt := range []struct {
		host              string
		port              uint16
		published, usable int // -1: there is no set
		signed            bool
		ttl               time.Duration
	}{
		{"signed.example", 25, 1, 1, true, 2 * time.Hour},
		{"signed.example", 465, 1, 1, true, 2 * time.Hour},
		{"unsigned.example", 25, 1, 1, false, unknownTTL},
		{"useless.example", 25, 1, 0, true, 2 * time.Hour},
		{"mx.none.example", 25, -1, 0, true, 0},
		{"mx.unsigned.example", 25, -1, 0, false, 0},
	} {
		s, err := Look(t.Context(), r, tt.host, tt.port)
		published, usable := -1, 0
		if s.Set != nil {
			published, usable = len(s.Set.Published), len(s.Set.Records)
		}
		if err != nil || published != tt.published || usable != tt.usable || s.Signed != tt.signed || s.TTL != tt.ttl {
			t.Errorf("%s, port %d: %+v, %v", tt.host, tt.port, s, err)
		}
	}
	if s, err := Look(t.Context(), r, "broken.example", 25); !errors.Is(err, resolve.ErrTemporary) || s.Set != nil {
		t.Errorf("%+v, %v", s, err)
	}
}
