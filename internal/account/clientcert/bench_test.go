package clientcert

import (
	"crypto/tls"
	"crypto/x509"
	"syscall"
	"testing"
)

// BenchmarkHandshake tells what it costs clients without a certificate that
// they are asked for one.
func BenchmarkHandshake(b *testing.B) {
	for _, c := range []struct {
		name           string
		asked, resumed bool
	}{{"full", false, false}, {"full, asked", true, false}, {"resumed", false, true}, {"resumed, asked", true, true}} {
		b.Run(c.name, func(b *testing.B) {
			d := newDoor(b)
			if c.asked {
				d.trusted.Set([]*x509.Certificate{newAuthority(b, now).Certificate})
			}
			client := &tls.Config{}
			if c.resumed {
				client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			}
			resumed := 0
			before := processor(b)
			for b.Loop() {
				_, own, err := d.meet(client)
				if err != nil {
					b.Fatal(err)
				}
				if own.DidResume {
					resumed++
				}
			}
			b.ReportMetric(float64(processor(b)-before)/float64(b.N), "cpu-ns/op")
			if (resumed > 0) != c.resumed {
				b.Errorf("%d of %d resumed", resumed, b.N)
			}
		})
	}
}

// processor returns the time that the process has computed, of both ends.
func processor(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
