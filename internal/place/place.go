// Package place knows where addresses are: in which country, and who
// announces them. It asks no other server: the answers come from files in
// MaxMind's format (mmdb), which the operator provides.
//
// # Formats
//
// A record may have country_code, as the databases of iptoasn.com have it, or
// country.iso_code, as MaxMind's and their like do; and
// autonomous_system_number with autonomous_system_organization.
//
// # Trust and limits
//
// The files are the operator's; what is in them is somebody else's. A country
// is two capital letters or nothing, a name is bounded by maxName, a file by
// maxFile. Files are read whole, so that one which is replaced under us does
// no harm.
package place

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"github.com/oschwald/maxminddb-golang/v2"
)

const (
	maxFile = 256 << 20 // octets
	maxName = 80        // octets of the name of who announces an address
)

// Places answers from files. The zero Places knows nothing. Its methods may be
// called from any goroutine.
type Places struct{ files []*maxminddb.Reader }

// Open reads files. It returns what can be used of them also with an error,
// which says what cannot.
func Open(paths ...string) (*Places, error) {
	p := &Places{}
	var errs []error
	for _, path := range paths {
		r, err := open(path)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s cannot be used as a database of addresses: %w", path, err))
			continue
		}
		p.files = append(p.files, r)
	}
	return p, errors.Join(errs...)
}

func open(path string) (*maxminddb.Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(b) > maxFile:
		return nil, fmt.Errorf("it is larger than %d octets", maxFile)
	}
	return maxminddb.OpenBytes(b)
}

// record is what is read of one, whoever made the file.
type record struct {
	CountryCode string `maxminddb:"country_code"`
	Country     struct {
		Code string `maxminddb:"iso_code"`
	} `maxminddb:"country"`
	Number       uint32 `maxminddb:"autonomous_system_number"`
	Organization string `maxminddb:"autonomous_system_organization"`
}

// Locate returns the country of an address, as two capital letters, and who
// announces it, as "AS64496 Example"; each is empty where nothing is known.
// The first file that knows decides.
func (p *Places) Locate(ip netip.Addr) (country, network string) {
	if !ip.IsValid() {
		return "", ""
	}
	for _, f := range p.files {
		var r record
		// A record of another shape is as good as none.
		if f.Lookup(ip.Unmap().WithZone("")).Decode(&r) != nil {
			continue
		}
		if country == "" {
			country = code(r.CountryCode)
		}
		if country == "" {
			country = code(r.Country.Code)
		}
		if network == "" && r.Number != 0 {
			name := r.Organization[:min(len(r.Organization), maxName)]
			network = strings.TrimSpace(fmt.Sprintf("AS%d %s", r.Number, strings.ToValidUTF8(name, "?")))
		}
	}
	return country, network
}

// code returns a country if it is one.
func code(s string) string {
	if len(s) == 2 && s[0] >= 'A' && s[0] <= 'Z' && s[1] >= 'A' && s[1] <= 'Z' {
		return s
	}
	return ""
}
