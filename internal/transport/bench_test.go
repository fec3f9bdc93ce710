package transport

import (
	"testing"
	"time"

	"gatepost/internal/mtasts"
)

// BenchmarkTerms is what each delivery pays for knowing its terms, once all
// that they are made of is at hand.
func BenchmarkTerms(b *testing.B) {
	const tlsa = "_25._tcp.mx.d.example. TLSA 3 1 1 0d6fce02b9b3e1d2b3fd6f1b2f0f3fb4f0a6d1b7e7a1b0c4d7e8f90123456789"
	for _, tc := range []struct {
		name, zone string
		policy     mtasts.Policy
	}{
		{"none", "", mtasts.Policy{}},
		{"dane", tlsa, mtasts.Policy{}},
		{"sts", `_mta-sts.d.example. TXT "v=STSv1; id=1"`, mtasts.Policy{Mode: mtasts.Enforce, MX: []mtasts.Pattern{"mx.d.example"}, MaxAge: time.Hour}},
	} {
		b.Run(tc.name, func(b *testing.B) {
			w := newWorld("mx.d.example. A 192.0.2.1\n" + tc.zone)
			w.zone.Secure, w.policy = true, tc.policy
			h := hop
			h.Signed = true
			b.ReportAllocs()
			for b.Loop() {
				if t := w.Terms(b.Context(), h); t.Refused != nil || t.Key() == "" {
					b.Fatal(t.Refused)
				}
			}
		})
	}
}
