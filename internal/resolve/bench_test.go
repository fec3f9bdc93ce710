package resolve

import (
	"testing"

	"gatepost/internal/clock"
)

// BenchmarkKept is what a delivery pays for knowing its MX already.
func BenchmarkKept(b *testing.B) {
	n := &network{t: b, servers: map[string]answerer{near.String(): replies(b, zone, nil)}}
	c := n.client(clock.System)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := MX(b.Context(), c, "example"); err != nil {
			b.Fatal(err)
		}
	}
}
