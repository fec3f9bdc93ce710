package config

import (
	"runtime"
	"time"
)

// Default returns the configuration of an empty file.
func Default() *Config {
	return &Config{
		Data: ".",
		Listen: Listen{
			MX:          []string{":25"},
			Submission:  []string{":587"},
			Submissions: []string{":465"},
			IMAPS:       []string{":993"},
			HTTPS:       []string{":443"},
			HTTP:        []string{":80"},
		},
		DNS:      DNS{Update: Update{Algorithm: "hmac-sha256"}},
		Remote:   Remote{IPv6: true, TLS: TLSOpportunistic},
		Password: Password{MinLength: 12, Strength: 3, History: 5},
		Reports:  Reports{TLS: true, DMARC: true},
		Activity: Activity{Kept: Span(180 * day)},
		System:   System{Landlock: true},
		Limits:   DefaultLimits(),
	}
}

// DefaultLimits returns the bounds that hold where the file says nothing.
func DefaultLimits() Limits {
	return Limits{
		MessageSize: 50 << 20,
		HeaderSize:  256 << 10,
		Recipients:  1000,

		Connections:           20000,
		ConnectionsPerAddress: 200,
		ConnectionsPerNetwork: 500,

		SessionMessages:     1000,
		SessionCommands:     1000,
		SessionErrors:       20,
		SessionAuthFailures: 3,
		SessionTime:         Span(2 * time.Hour),
		CommandTimeout:      Span(5 * time.Minute), // RFC 5321, section 4.5.3.2.7
		DataTimeout:         Span(3 * time.Minute), // RFC 5321, section 4.5.3.2.5
		HandshakeTimeout:    Span(30 * time.Second),
		DataRate:            256,

		PasswordHashes:    max(2, runtime.NumCPU()),
		ScramForPasswords: true,
		SendingPerDay:     2000,
		Quota:             10 << 30,

		DraftMemory: 256 << 20,
		FreshMemory: 64 << 20,
		InlineBody:  256 << 10,
		SegmentSize: 16 << 20,

		QueueLifetime:    Span(5 * day),
		DelayNotice:      Span(4 * time.Hour),
		FailedKept:       Span(30 * day),
		RouteConnections: 20,
		RemoteDeliveries: 500, // many of them may wait for servers that do not answer; more only wait for each other
		LocalDeliveries:  64,
		IdleConnections:  200,
		IdleTime:         Span(30 * time.Second),

		Drain: Span(20 * time.Second),
	}
}
