package envelope

import (
	"crypto/tls"
	"net/netip"
	"time"
)

// Proof is what protection a message really got on its way to the next host,
// and what was asked for. One is shared by all that went over the same
// connection.
type Proof struct {
	At   time.Time // when the connection was ready for messages
	Host string
	Addr netip.Addr

	Version uint16      // of TLS, as crypto/tls numbers them; 0: in the clear
	Cipher  uint16      // likewise
	Group   tls.CurveID // of the key exchange; 0 where there is none of its own
	// Chain is the SHA-256 of the certificates that the host presented, in
	// their order, in DER.
	Chain [32]byte

	Policy   string // what asked for protection, as "MTA-STS (enforce)"; "none"
	Met      string // how it was met, the rest of a sentence about the host
	Verified bool   // the host proved who it is
	// RequireTLS says that the host promised to pass the message on only so:
	// RFC 8689.
	RequireTLS bool
}

// String tells the proof in one plain sentence.
func (p *Proof) String() string {
	return "to " + p.Host + " (" + p.Addr.String() + ") " + Secured(p.Version, p.Cipher, p.Group) + ": " + p.Met + "; policy: " + p.Policy
}

// Secured says how a connection was protected; its arguments are those of
// crypto/tls, 0 where there is none.
func Secured(version, cipher uint16, group tls.CurveID) string {
	if version == 0 {
		return "in the clear"
	}
	how := "over " + tls.VersionName(version) + ", " + tls.CipherSuiteName(cipher)
	if group != 0 {
		how += ", " + group.String()
	}
	return how
}
