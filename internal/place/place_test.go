package place

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// database returns a file of MaxMind's format that knows some networks:
// https://maxmind.github.io/MaxMind-DB/. Nodes have two records of 24 bits,
// and IPv4 is below ::/96.
func database(t testing.TB, networks map[string]map[string]any) []byte {
	t.Helper()
	var data bytes.Buffer
	offsets := map[string]int{}
	var names []string
	for n, v := range networks {
		offsets[n] = data.Len()
		names = append(names, n)
		encode(&data, v)
	}
	slices.Sort(names)
	tree := [][2]int{{-1, -1}} // a node, -1 for nothing, -2-x for data at x
	for _, n := range names {
		p := netip.MustParsePrefix(n)
		bits, ip := p.Bits(), p.Addr().As16()
		if p.Addr().Is4() {
			bits += 96
			ip = [16]byte{}
			a := p.Addr().As4()
			copy(ip[12:], a[:])
		}
		node := 0
		for i := range bits {
			side := ip[i/8] >> (7 - i%8) & 1
			switch {
			case i == bits-1:
				tree[node][side] = -2 - offsets[n]
			case tree[node][side] < 0:
				tree = append(tree, [2]int{-1, -1})
				tree[node][side] = len(tree) - 1
			}
			if i < bits-1 {
				node = tree[node][side]
			}
		}
	}
	var out bytes.Buffer
	for _, node := range tree {
		for _, r := range node {
			switch {
			case r == -1:
				r = len(tree)
			case r < -1:
				r = len(tree) + 16 + (-2 - r)
			}
			out.Write([]byte{byte(r >> 16), byte(r >> 8), byte(r)})
		}
	}
	out.Write(make([]byte, 16))
	out.Write(data.Bytes())
	out.WriteString("\xab\xcd\xefMaxMind.com")
	encode(&out, map[string]any{
		"node_count": uint32(len(tree)), "record_size": uint16(24), "ip_version": uint16(6), "database_type": "test",
		"binary_format_major_version": uint16(2), "binary_format_minor_version": uint16(0), "build_epoch": uint64(1),
	})
	return out.Bytes()
}

// encode writes a value of the data section.
func encode(b *bytes.Buffer, v any) {
	control := func(kind byte, size int) {
		switch {
		case kind > 7:
			b.Write([]byte{byte(size), kind - 7})
		case size < 29:
			b.WriteByte(kind<<5 | byte(size))
		default:
			b.Write([]byte{kind<<5 | 29, byte(size - 29)})
		}
	}
	switch v := v.(type) {
	case string:
		control(2, len(v))
		b.WriteString(v)
	case uint16:
		control(5, 2)
		b.Write(binary.BigEndian.AppendUint16(nil, v))
	case uint32:
		control(6, 4)
		b.Write(binary.BigEndian.AppendUint32(nil, v))
	case uint64:
		control(9, 8)
		b.Write(binary.BigEndian.AppendUint64(nil, v))
	case map[string]any:
		control(7, len(v))
		for name, value := range v {
			encode(b, name)
			encode(b, value)
		}
	}
}

func write(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.mmdb")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLocate(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 200)
	countries := write(t, database(t, map[string]map[string]any{
		"192.0.2.0/24": {"country_code": "DE"}, "198.51.100.0/25": {"country": map[string]any{"iso_code": "FR"}},
		"203.0.113.0/24": {"country_code": "de"}, "2001:db8::/32": {"country_code": "IT"}, "233.252.0.0/24": {"country_code": uint32(7)},
	}))
	networks := write(t, database(t, map[string]map[string]any{
		"192.0.2.0/24":    {"autonomous_system_number": uint32(64496), "autonomous_system_organization": "Example"},
		"2001:db8::/32":   {"autonomous_system_number": uint32(64497), "country_code": "US"},
		"198.51.100.0/24": {"autonomous_system_number": uint32(64498), "autonomous_system_organization": long},
	}))
	p, err := Open(countries, networks)
	if err != nil {
		t.Fatal(err)
	}
	for ip, want := range map[string]string{
		"192.0.2.1": "DE|AS64496 Example", "::ffff:192.0.2.1": "DE|AS64496 Example", "198.51.100.1": "FR|AS64498 " + long[:maxName],
		"198.51.100.200": "|AS64498 " + long[:maxName], "203.0.113.1": "|", "2001:db8::1%eth0": "IT|AS64497", "2001:db9::1": "|",
		"233.252.0.1": "|", "127.0.0.1": "|",
	} {
		if country, network := p.Locate(netip.MustParseAddr(ip)); country+"|"+network != want {
			t.Errorf("%s: %s|%s, want %s", ip, country, network, want)
		}
	}
	if country, network := (&Places{}).Locate(netip.MustParseAddr("192.0.2.1")); country+network != "" {
		t.Error("who has no file knows something")
	}
	if country, network := p.Locate(netip.Addr{}); country+network != "" {
		t.Error("no address is somewhere")
	}
}

// What can be used is, and what cannot is said.
func TestOpen(t *testing.T) {
	t.Parallel()
	good := write(t, database(t, map[string]map[string]any{"192.0.2.0/24": {"country_code": "DE"}}))
	bad, none := write(t, []byte("no database")), filepath.Join(t.TempDir(), "none")
	p, err := Open(bad, none, good)
	if err == nil || !strings.Contains(err.Error(), bad) || !strings.Contains(err.Error(), none) || strings.Contains(err.Error(), good) {
		t.Error(err)
	}
	if country, _ := p.Locate(netip.MustParseAddr("192.0.2.1")); country != "DE" {
		t.Errorf("%q", country)
	}
}

// A file that is damaged anywhere tells less, or nothing, and does no harm.
func FuzzLocate(f *testing.F) {
	f.Add(database(f, map[string]map[string]any{"192.0.2.0/24": {"country_code": "DE", "autonomous_system_number": uint32(64496)}}), "192.0.2.1")
	f.Fuzz(func(t *testing.T, content []byte, ip string) {
		path := filepath.Join(t.TempDir(), "x.mmdb")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := netip.ParseAddr(ip)
		if err != nil {
			return
		}
		p, _ := Open(path)
		if country, network := p.Locate(a); len(country) != 0 && len(country) != 2 || len(network) > maxName*3+20 {
			t.Errorf("%q, %q", country, network)
		}
	})
}
