package remote

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gatepost/internal/envelope"
)

// sink takes everything as fast as it can, over one buffer a connection.
func sink(nc net.Conn, offers string) {
	defer nc.Close()
	in := bufio.NewReaderSize(nc, 64<<10)
	out := append(make([]byte, 0, 4096), "220 sink\r\n"...)
	flush := func() {
		if in.Buffered() == 0 {
			nc.Write(out)
			out = out[:0]
		}
	}
	flush()
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		switch {
		case bytes.HasPrefix(line, []byte("EHLO")):
			out = append(out, "250-sink\r\n250-"+strings.ReplaceAll(offers, " ", "\r\n250-")+"\r\n250 8BITMIME\r\n"...)
		case bytes.HasPrefix(line, []byte("BDAT")):
			size := 0
			for _, c := range line[5:] {
				if c < '0' || c > '9' {
					break
				}
				size = size*10 + int(c-'0')
			}
			in.Discard(size)
			out = append(out, "250 2.0.0 queued\r\n"...)
		case bytes.HasPrefix(line, []byte("DATA")):
			out = append(out, "354 go\r\n"...)
			flush()
			for {
				line, err := in.ReadSlice('\n')
				if err != nil && err != bufio.ErrBufferFull {
					return
				}
				if len(line) == 3 && line[0] == '.' {
					break
				}
			}
			out = append(out, "250 2.0.0 queued\r\n"...)
		default:
			out = append(out, "250 2.1.0 ok\r\n"...)
		}
		flush()
	}
}

// meter counts the reads and writes of the client.
type meter struct {
	net.Conn
	reads, writes *atomic.Int64
}

func (m meter) Read(p []byte) (int, error)  { m.reads.Add(1); return m.Conn.Read(p) }
func (m meter) Write(p []byte) (int, error) { m.writes.Add(1); return m.Conn.Write(p) }

// SyscallConn keeps the look at a kept connection in the picture.
func (m meter) SyscallConn() (syscall.RawConn, error) { return m.Conn.(syscall.Conn).SyscallConn() }

// BenchmarkDeliver sends one message to one recipient over a kept connection
// to a sink on loopback. The processor's time is that of both ends.
func BenchmarkDeliver(b *testing.B) {
	for _, size := range []int{4 << 10, 10 << 20} {
		for _, offers := range []string{"PIPELINING", "PIPELINING CHUNKING"} {
			for _, destination := range []string{"route:sink", "d.example"} {
				b.Run(fmt.Sprintf("%dKiB/%s/%s", size>>10, strings.ReplaceAll(offers, " ", "+"), destination), func(b *testing.B) {
					benchDeliver(b, size, offers, destination)
				})
			}
		}
	}
}

func benchDeliver(b *testing.B, size int, offers, destination string) {
	w := newWorld(b, "d.example. MX 10 host.example.\nhost.example. A 192.0.2.1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go sink(nc, offers)
		}
	}()
	w.hosts[netip.MustParseAddr("192.0.2.1")] = &server{l: l}
	var reads, writes atomic.Int64
	s := w.sender(func(o *Options) {
		o.Routes = []Route{{Name: "sink", Via: "192.0.2.1"}}
		dial := o.Dial
		o.Dial = func(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
			nc, err := dial(ctx, from, to)
			return meter{nc, &reads, &writes}, err
		}
	})
	a := attempt(destination, "Subject: x\r\n\r\n"+strings.Repeat("0123456789 0123456789 0123456789 0123456789 0123456789 0123456789\r\n", size/68), "b@d.example")
	b.ReportAllocs()
	b.SetBytes(a.Body.Size())
	s.Deliver(b.Context(), a)
	reads.Store(0)
	writes.Store(0)
	before := cpu(b)
	for b.Loop() {
		if o := s.Deliver(b.Context(), a); o[0].Status != envelope.Relayed {
			b.Fatal(show(o[0]))
		}
	}
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N)/1e3, "cpu-µs/op")
	b.ReportMetric(float64(reads.Load())/float64(b.N), "reads/op")
	b.ReportMetric(float64(writes.Load())/float64(b.N), "writes/op")
}

// cpu returns the time that the process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
