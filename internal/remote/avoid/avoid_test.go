package avoid

import (
	"net/netip"
	"testing"
	"time"
)

func TestBounds(t *testing.T) {
	t.Parallel()
	var a List
	now := time.Now()
	for i := range 3 * most {
		a.Add(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), uint16(i)), now)
	}
	if len(a.until) > most {
		t.Errorf("%d addresses", len(a.until))
	}
	to := netip.MustParseAddrPort("192.0.2.1:25")
	a.Add(to, now)
	if !a.Has(to, now.Add(life-1)) || a.Has(to, now.Add(life)) || a.Has(to, now) {
		t.Error("not for that long")
	}
}
