package test

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// tap listens on the wire, as whoever is on the way can: it gathers what goes
// to port 25 of some hosts, packet by packet.
type tap struct {
	mu    sync.Mutex
	heard map[string]*strings.Builder // by host
	fault error
}

// tapBuffer is what the kernel may keep for us; other cases talk meanwhile.
const tapBuffer = 64 << 20

// newTap begins to listen; hosts are addresses.
func newTap(t *testing.T, hosts []string) *tap {
	t.Helper()
	w := &tap{heard: map[string]*strings.Builder{}}
	for _, h := range hosts {
		w.heard[h] = &strings.Builder{}
	}
	ip := uint16(unix.ETH_P_IP)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, int(ip>>8|ip<<8))
	if err != nil {
		t.Fatalf("no tap: %v", err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, tapBuffer); err != nil {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, tapBuffer) // as much as may be
	}
	// TCP to port 25 and nothing else: the kernel throws the rest away.
	program, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 9, Size: 1}, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_TCP, SkipTrue: 4},
		bpf.LoadMemShift{Off: 0}, bpf.LoadIndirect{Off: 2, Size: 2}, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 25, SkipTrue: 1},
		bpf.RetConstant{Val: 1 << 18}, bpf.RetConstant{},
	})
	if err != nil {
		t.Fatal(err)
	}
	filter := make([]unix.SockFilter, len(program))
	for i, p := range program {
		filter[i] = unix.SockFilter{Code: p.Op, Jt: p.Jt, Jf: p.Jf, K: p.K}
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var over sync.WaitGroup
	over.Go(func() { w.listen(fd, done) })
	t.Cleanup(func() { close(done); over.Wait() }) // before the socket is closed
	return w
}

// listen reads packets until done.
func (w *tap) listen(fd int, done <-chan struct{}) {
	packet := make([]byte, 1<<18)
	for {
		select {
		case <-done:
			return
		default:
		}
		n, from, err := unix.Recvfrom(fd, packet, 0)
		if err == unix.EAGAIN || err == unix.EINTR {
			continue
		}
		if err != nil {
			w.mu.Lock()
			w.fault = err
			w.mu.Unlock()
			return
		}
		// On loopback each packet passes twice, out and in.
		if l, ok := from.(*unix.SockaddrLinklayer); ok && l.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		w.take(packet[:n])
		if stats, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil && stats.Drops > 0 {
			w.mu.Lock()
			w.fault = fmt.Errorf("%d packets were not heard", stats.Drops)
			w.mu.Unlock()
		}
	}
}

// take notes what a packet says.
func (w *tap) take(packet []byte) {
	if len(packet) < 40 {
		return
	}
	header := int(packet[0]&0xf) * 4
	end := min(int(packet[2])<<8|int(packet[3]), len(packet))
	tcp := packet[header:end]
	if len(tcp) < 20 {
		return
	}
	start := int(tcp[12]>>4) * 4
	if start > len(tcp) {
		return
	}
	to, _ := netip.AddrFromSlice(packet[16:20])
	w.mu.Lock()
	defer w.mu.Unlock()
	if b := w.heard[to.String()]; b != nil {
		b.Write(tcp[start:])
	}
}

// to returns what was heard on the way to a host.
func (w *tap) to(t *testing.T, host string) string {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fault != nil {
		t.Errorf("the tap is deaf: %v", w.fault)
	}
	return w.heard[host].String()
}
