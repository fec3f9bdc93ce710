// Package config is the file gatepost.toml: one typed struct, its defaults
// and its validation. Only the commands and the daemon read it; every other
// part is handed what it needs.
//
// The comment of each field is the sentence about its key in docs/config.md,
// which a test keeps current (go test ./internal/config -update).
package config

import "net/netip"

// Config is the whole file.
type Config struct {
	// The name that this server greets with and that MX records point to. It must resolve to this machine, and the machine's address back to it.
	Hostname string `toml:"hostname"`
	// The directory of everything that Gatepost stores, relative to this file. It is made with mode 0700 when it is missing.
	Data string `toml:"data"`

	Listen   Listen   `toml:"listen"`
	TLS      TLS      `toml:"tls"`
	DNS      DNS      `toml:"dns"`
	Relay    Relay    `toml:"relay"`
	Front    Front    `toml:"front"`
	Trusted  Trusted  `toml:"trusted"`
	Sender   []Sender `toml:"sender"`
	Remote   Remote   `toml:"remote"`
	Password Password `toml:"password"`
	Factor   Factor   `toml:"factor"`
	Reports  Reports  `toml:"reports"`
	Activity Activity `toml:"activity"`
	Alerts   Alerts   `toml:"alerts"`
	OAuth    OAuth    `toml:"oauth"`
	System   System   `toml:"system"`
	Limits   Limits   `toml:"limits"`
	Route    []Route  `toml:"route"`

	file  string // where it was read from, as it was named
	text  []byte
	dir   string // of the file, absolute
	lines lines
}

// Listen says which doors are open and where; an empty list closes one. An address is ":25", "192.0.2.1:25", "[2001:db8::1]:25", or "systemd:NAME" for a socket that systemd hands over.
type Listen struct {
	// SMTP from other servers. Nobody can sign in here.
	MX []string `toml:"mx"`
	// SMTP from our users, STARTTLS before anything else.
	Submission []string `toml:"submission"`
	// SMTP from our users, TLS from the first octet. Prefer this one.
	Submissions []string `toml:"submissions"`
	// IMAP with TLS from the first octet.
	IMAPS []string `toml:"imaps"`
	// IMAP with STARTTLS.
	IMAP []string `toml:"imap"`
	// Web pages: MTA-STS policies and client set-up.
	HTTPS []string `toml:"https"`
	// ACME challenges and redirects; nothing secret.
	HTTP []string `toml:"http"`
	// Prometheus metrics at /metrics, for a private address only: whoever reaches it can read it.
	Metrics []string `toml:"metrics"`
}

// TLS says where the server's certificate comes from: acme, or certificate and key, or self_signed. With none of them it is self-signed.
type TLS struct {
	// Directory address of the ACME server that issues certificates for the host name, and for mta-sts., autoconfig. and autodiscover. of each domain, as far as the DNS leads them here. Its terms of service are agreed to by naming it.
	ACME string `toml:"acme"`
	// File with the CA certificate of a private ACME server; it is trusted beside the system's.
	ACMERoots string `toml:"acme_roots"`
	// Address that the ACME server may write to.
	Email string `toml:"email"`
	// File with the certificate chain in PEM, the server's own first.
	Certificate string `toml:"certificate"`
	// File with the certificate's private key in PEM. Only Gatepost's user should be able to read it.
	Key string `toml:"key"`
	// Make a certificate that nobody else vouches for: other servers still encrypt to it, mail clients will ask.
	SelfSigned bool `toml:"self_signed"`
	// File with extra CA certificates in PEM that are trusted on connections to other servers.
	Roots string `toml:"roots"`
}

// DNS says whom to ask.
type DNS struct {
	// Resolvers as host:port, asked in this order; empty means the system's.
	Resolvers []string `toml:"resolvers"`
	// Validating resolvers whose word on DNSSEC is believed; loopback ones only, unless listed here.
	TrustAD []string `toml:"trust_ad"`
	// How records of our domains are changed: by dynamic updates (RFC 2136), as `update = { server = "192.0.2.53:53", key = "gatepost", key_file = "dns.key" }`. See [dns.update].
	Update Update `toml:"update"`
}

// Update says how records of our domains are changed, by dynamic updates (RFC 2136) that are signed with a key (TSIG). ACME then proves names by DNS-01.
type Update struct {
	// The primary name server as host:port; empty means that nothing is changed in the DNS.
	Server string `toml:"server"`
	// The name of the key, as the name server knows it.
	Key string `toml:"key"`
	// hmac-sha256, hmac-sha384 or hmac-sha512.
	Algorithm string `toml:"algorithm"`
	// File with the key in base64. Only Gatepost's user should be able to read it.
	KeyFile string `toml:"key_file"`
}

// Relay is for machines that cannot sign in.
type Relay struct {
	// Networks whose clients may send to anywhere without signing in. They are exempt from the bounds on addresses, rates and sessions. Never list a network that strangers can be in.
	Networks []netip.Prefix `toml:"networks"`
}

// Front is about what stands between clients and this server. Whoever is listed can make a connection look as if it came from anywhere.
type Front struct {
	// Load balancers whose connections to any door begin with a header of the PROXY protocol (version 1 or 2), which says whose they are. Without one they are refused.
	Proxies []netip.Prefix `toml:"proxies"`
	// Mail proxies and filters that tell whom they speak for by XCLIENT. They cannot sign anybody in.
	XClient []netip.Prefix `toml:"xclient"`
}

// Trusted is about whose word on a message counts.
type Trusted struct {
	// Domains whose ARC seals are believed: where such a forwarder or mailing list says that DMARC passed before it changed the message, the message is accepted. Whoever is listed can speak in anybody's name.
	Forwarders []string `toml:"forwarders"`
}

// Sender overrides what becomes of mail by authors of a domain (From) where nothing shows that it is theirs: neither DMARC, nor SPF or a signature of that very domain. Without it, what the domain asks for is heeded, as far as nothing hints at a mailing list or a forwarder.
type Sender struct {
	// The domain of the authors; it is for the domains below it too, unless they have a choice of their own. "*" is every domain without a choice, but for yours.
	Domain string `toml:"domain"`
	// accept (also while the domain's DNS does not answer), junk (file it into Junk) or reject (refuse it, also where it comes through a mailing list).
	Failure string `toml:"failure"`
}

// Remote is about connections to other servers.
type Remote struct {
	// Private or loopback networks that may be connected to; all others are refused, so that nobody can make Gatepost reach into your network.
	Private []netip.Prefix `toml:"private"`
	// Own addresses to send from; empty leaves it to the system.
	Sources []netip.Addr `toml:"sources"`
	// Whether IPv6 is used.
	IPv6 bool `toml:"ipv6"`
	// The least protection for mail to every domain without a route: opportunistic, require (encrypted), or verify (encrypted, and the server must prove who it is). Look at "gatepost proof unverified" before you raise it: that mail would wait, and then come back.
	TLS string `toml:"tls"`
}

// Reports is about what other domains are told of what this server saw of them, each day, if they ask for it. Reports by mail go out once a key that they can be signed with is in the DNS.
type Reports struct {
	// Send TLS reports (RFC 8460) to domains that mail goes to: how many connections to their hosts were safe, and what failed.
	TLS bool `toml:"tls"`
	// Send DMARC aggregate reports (RFC 9990) to domains in whose name mail comes: from which addresses how much of it came, and what proved it. They name no recipient and no user.
	DMARC bool `toml:"dmarc"`
}

// Route overrides the MX records of a domain.
type Route struct {
	// The domain it is for; "*" is every domain that has no route of its own, which makes it a smarthost.
	Domain string `toml:"domain"`
	// An address or host, with or without port; its MX records are not looked up.
	Via string `toml:"via"`
	// verify (encrypted, and the certificate must be right), require (encrypted), opportunistic (encrypted if it can be), or none. The default is verify where user is set, else opportunistic.
	TLS string `toml:"tls"`
	// The name expected in its certificate, if that is not the host in via.
	TLSName string `toml:"tls_name"`
	// The user to sign in as; only over verified TLS.
	User string `toml:"user"`
	// File with the password of that user.
	PasswordFile string `toml:"password_file"`
	// File with OAuth2 client settings for Gmail and Microsoft; not built yet.
	OAuth2 string `toml:"oauth2"`
}

// Password is about the passwords that people choose for their accounts, whichever way they are set. Those that are common or were breached are refused in any case: passwords.md tells how, and how to load a larger list.
type Password struct {
	// The least number of characters; 8 is the least that can be asked for.
	MinLength int `toml:"min_length"`
	// The least strength that zxcvbn finds, from 0 to 4, with the person's own names taken for known.
	Strength int `toml:"strength"`
	// Kinds of characters that must be in it: any of "lower", "upper", "digit", "symbol". It makes people choose worse passwords; it is for those whose rules ask for it.
	Require []string `toml:"require"`
	// How many of the last passwords may not come again, the present one among them; at most 10, since each is hashed against.
	History int `toml:"history"`
	// After how long a password runs out: then nobody can sign in with it before a new one is set, and whoever tries is told so. Mail still arrives, and device passwords do not run out. "0s" is never, which is better: people who must change passwords choose worse ones.
	MaxAge Span `toml:"max_age"`
}

// Factor is about second factors: the codes of an app, passkeys. factors.md tells of them.
type Factor struct {
	// Roles whose accounts must have one: "admin", "user". The password of an account that owes one opens no mail, and a page lets it do nothing but add one; its device passwords go on, and its mail still arrives. "gatepost account factor add totp" gives it one.
	Required []string `toml:"required"`
}

// Activity is about the log that people review: who signed in, who tried to, what was changed.
type Activity struct {
	// How long it is kept.
	Kept Span `toml:"kept"`
	// Files in MaxMind's format (mmdb) that tell in which country an address is, and who announces it; none comes with Gatepost. They are read at the start and again at SIGHUP.
	Places []string `toml:"places"`
}

// Alerts is about what people are told of their accounts (activity.md). They go to the account by mail in any case.
type Alerts struct {
	// An https address that each alert is also posted to, as JSON (hooks.md). With http it must be in a network of [remote] private.
	Webhook string `toml:"webhook"`
	// File with the secret that these posts are signed with, 24 to 64 random octets in base64: openssl rand -base64 32. Only Gatepost's user should be able to read it.
	WebhookSecretFile string `toml:"webhook_secret_file"`
}

// OAuth is about programs for mail that get tokens of this server in place of a password: oauth.md tells of them.
type OAuth struct {
	// Give out tokens at the https door, and offer OAUTHBEARER and XOAUTH2 where people sign in.
	Enabled bool `toml:"enabled"`
}

// System is about the machine that the server runs on.
type System struct {
	// Give up, before the data is opened, what the server never needs of the file system (Landlock): it can then write nothing but its data, run nothing, and read only its data, the directories of the configuration and of the files named in it, and what the system tells any program. A file that the configuration newly names in another directory is then read only after a restart.
	Landlock bool `toml:"landlock"`
}

// Limits bounds everything that a client, a message or time could make grow.
type Limits struct {
	// The largest message that is taken.
	MessageSize Size `toml:"message_size"`
	// The largest header section of a message.
	HeaderSize Size `toml:"header_size"`
	// Recipients of one message; more get 452 and are sent in a second one.
	Recipients int `toml:"recipients"`

	// Connections in all.
	Connections int `toml:"connections"`
	// Connections from one address.
	ConnectionsPerAddress int `toml:"connections_per_address"`
	// Connections from one network (/24 or /64).
	ConnectionsPerNetwork int `toml:"connections_per_network"`

	// Messages in one session.
	SessionMessages int `toml:"session_messages"`
	// Commands in one session that are neither part of a message nor needed for one.
	SessionCommands int `toml:"session_commands"`
	// Errors in one session before it is ended.
	SessionErrors int `toml:"session_errors"`
	// Failed sign-ins in one session before it is ended.
	SessionAuthFailures int `toml:"session_auth_failures"`
	// How long a whole session may last.
	SessionTime Span `toml:"session_time"`
	// How long a client may take for a command.
	CommandTimeout Span `toml:"command_timeout"`
	// How long a client may stay silent inside a message.
	DataTimeout Span `toml:"data_timeout"`
	// How long a TLS handshake may take.
	HandshakeTimeout Span `toml:"handshake_timeout"`
	// The least octets a second at which a message must arrive, after the first minute.
	DataRate Size `toml:"data_rate"`

	// Password hashes computed at the same time, each of which takes 64 MiB for a moment; there is one more for people who come from networks that they used before.
	PasswordHashes int `toml:"password_hashes"`
	// Keep SCRAM keys of the passwords that people choose, so that clients can sign in without sending them. They are a weaker hash, and encrypted.
	ScramForPasswords bool `toml:"scram_for_passwords"`
	// Recipients that one account may send to in a day, unless the account says otherwise; 0 is no limit.
	SendingPerDay int `toml:"sending_per_day"`
	// What one account may store, unless the account says otherwise; 0 is no limit.
	Quota Size `toml:"quota"`

	// Memory for messages that are being received.
	DraftMemory Size `toml:"draft_memory"`
	// Memory for small messages between arrival and first attempt.
	FreshMemory Size `toml:"fresh_memory"`
	// The largest message that is kept in the log of the spool instead of a file of its own.
	InlineBody Size `toml:"inline_body"`
	// Size of one file of the spool's log.
	SegmentSize Size `toml:"segment_size"`

	// How long delivery is tried before the sender is told that it failed.
	QueueLifetime Span `toml:"queue_lifetime"`
	// When the sender is told that delivery is late.
	DelayNotice Span `toml:"delay_notice"`
	// How long a failed message is kept that may not be bounced.
	FailedKept Span `toml:"failed_kept"`
	// Connections to one destination at the same time.
	RouteConnections int `toml:"route_connections"`
	// Deliveries to other servers at the same time.
	RemoteDeliveries int `toml:"remote_deliveries"`
	// Deliveries to our own mailboxes at the same time.
	LocalDeliveries int `toml:"local_deliveries"`
	// Kept connections to other servers, in all.
	IdleConnections int `toml:"idle_connections"`
	// How long an unused connection to another server is kept.
	IdleTime Span `toml:"idle_time"`

	// How long running sessions and deliveries may take to end when the server stops.
	Drain Span `toml:"drain"`
}
