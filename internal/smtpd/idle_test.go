package smtpd

import (
	"crypto/tls"
	"fmt"
	"net"
	"runtime"
	"testing"
	"time"

	"gatepost/internal/envelope"
)

// BenchmarkIdle reports what a session costs that waits for a command, in
// octets of the process, without the client's side.
func BenchmarkIdle(b *testing.B) {
	for _, c := range []struct {
		name     string
		implicit bool
	}{{"plain", false}, {"TLS", true}} {
		b.Run(c.name, func(b *testing.B) {
			const sessions = 500
			s := newSite(envelope.MX, nil)
			var before, after runtime.MemStats
			settle := func(m *runtime.MemStats) {
				for range 3 {
					runtime.GC()
					time.Sleep(20 * time.Millisecond)
				}
				runtime.ReadMemStats(m)
			}
			for b.Loop() {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					b.Fatal(err)
				}
				// The clients keep raw sockets and no Go state beyond them.
				clients := make([]net.Conn, sessions)
				settle(&before)
				for i := range clients {
					clients[i] = s.idle(b, l, c.implicit)
				}
				settle(&after)
				heap, stack := after.HeapAlloc-before.HeapAlloc, after.StackInuse-before.StackInuse
				b.ReportMetric(float64(heap)/sessions, "heap-B/session")
				b.ReportMetric(float64(stack)/sessions, "stack-B/session")
				for _, c := range clients {
					c.Close()
				}
				l.Close()
			}
		})
	}
}

// idle connects a client that has greeted and says nothing more. Of a TLS
// client only the socket is kept.
func (s *site) idle(b *testing.B, l net.Listener, implicit bool) net.Conn {
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		if implicit {
			t := tls.Server(conn, s.o.TLS)
			if t.Handshake() != nil {
				return
			}
			conn = t
		}
		s.Serve(conn)
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	talk := conn
	if implicit {
		talk = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	in := make([]byte, 4096)
	exchange(b, talk, nil, in, 1)
	fmt.Fprint(talk, "EHLO client.test\r\n")
	exchange(b, talk, nil, in, 9)
	return conn
}
