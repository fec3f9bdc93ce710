package dkim

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"
)

// The goals: a message of 4 KiB is verified below 150 µs, one of 1 MiB at 70 %
// of the speed of the hash alone, and signing costs at most 1.2 times what
// its two signatures cost. Each benchmark does the same with nothing around
// it by turns, and tells the ratio, since the machine's speed drifts.

// beside measures ours and raw by turns, and reports ours and the allocations
// in it. Both are medians: others may be at work on the machine.
func beside(b *testing.B, ours, raw func()) (ratio float64) {
	var took [2][]time.Duration
	for b.Loop() {
		for i, f := range []func(){raw, ours} {
			began := time.Now()
			f()
			took[i] = append(took[i], time.Since(began))
		}
	}
	var middle [2]float64
	for i, list := range took {
		slices.Sort(list)
		middle[i] = float64(list[len(list)/2].Nanoseconds())
	}
	b.ReportMetric(middle[1], "ns/op")
	b.ReportMetric(middle[0], "raw-ns/op")
	b.ReportMetric(testing.AllocsPerRun(20, ours), "allocs/message")
	return middle[1] / middle[0]
}

// prose is a body as people write it, attachment one as programs send it.
func prose(n int) []byte {
	return bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog, as it has done since it was told to.\r\n"), n/83+1)[:n/83*83]
}

func attachment(n int) []byte {
	line := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1, 2, 3}, 19)) + "\r\n"
	return bytes.Repeat([]byte(line), n/len(line))
}

var benchHeader = []byte(strings.Repeat("Received: from a.example by b.example with ESMTPS id 0123456789abcdef;\r\n\tTue, 3 Nov 2026 08:00:00 +0000\r\n", 4) +
	"From: Joe <joe@a.example>\r\nTo: Ann <ann@b.example>\r\nSubject: Dinner, and what to do about it\r\nDate: Tue, 3 Nov 2026 08:00:00 +0000\r\n" +
	"Message-ID: <0123456789@a.example>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n")

func signedWith(b *testing.B, keys []SigningKey, body []byte) []byte {
	s, err := NewSigner(benchHeader, keys, now, time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	s.Write(body)
	fields, err := s.Sign()
	if err != nil {
		b.Fatal(err)
	}
	return append(fields, benchHeader...)
}

var benchKeys = []struct {
	name string
	of   func() []SigningKey
}{
	{"rsa", func() []SigningKey { return testKeys()[:1] }},
	{"ed25519", func() []SigningKey { return testKeys()[1:] }},
	{"both", func() []SigningKey { return testKeys() }},
}

var benchBodies = []struct {
	name string
	of   func(int) []byte
}{{"prose", prose}, {"attachment", attachment}}

// verifies is what gate pays for a message, with the key at hand.
func verifies(b *testing.B, header, body []byte) {
	v := NewVerifier(header)
	for rest := body; len(rest) > 0; {
		n := min(len(rest), 32<<10)
		v.Write(rest[:n])
		rest = rest[n:]
	}
	for _, r := range v.Verify(b.Context(), testZone(), now) {
		if r.Status != Pass {
			b.Fatal(r.Reason)
		}
	}
}

// BenchmarkVerify is a message of 4 KiB, beside the hash of its body and the
// arithmetic of its signatures.
func BenchmarkVerify(b *testing.B) {
	for _, kind := range benchBodies {
		for _, keys := range benchKeys {
			b.Run(kind.name+"/"+keys.name, func(b *testing.B) {
				body := kind.of(4 << 10)
				header := signedWith(b, keys.of(), body)
				ratio := beside(b, func() { verifies(b, header, body) }, rawVerify(b, keys.of(), body))
				b.ReportMetric(ratio, "×raw")
			})
		}
	}
}

// rawVerify returns what cannot be spared in a verification.
func rawVerify(b *testing.B, keys []SigningKey, body []byte) func() {
	digest := sha256.Sum256(body)
	var values [][]byte
	for _, k := range keys {
		value, err := k.Sign(digest)
		if err != nil {
			b.Fatal(err)
		}
		values = append(values, value)
	}
	return func() {
		digest := sha256.Sum256(body)
		for i, k := range keys {
			good := false
			switch pub := k.Signer.Public().(type) {
			case *rsa.PublicKey:
				good = rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest[:], values[i]) == nil
			case ed25519.PublicKey:
				good = ed25519.Verify(pub, digest[:], values[i])
			}
			if !good {
				b.Fatal("a signature of ours is no good")
			}
		}
	}
}

// BenchmarkVerifyLarge is a message of 1 MiB, beside its hash.
func BenchmarkVerifyLarge(b *testing.B) {
	for _, kind := range benchBodies {
		for _, keys := range benchKeys {
			b.Run(kind.name+"/"+keys.name, func(b *testing.B) {
				body := kind.of(1 << 20)
				header := signedWith(b, keys.of(), body)
				ratio := beside(b, func() { verifies(b, header, body) }, func() { sha256.Sum256(body) })
				b.ReportMetric(1/ratio, "of-sha256")
			})
		}
	}
}

// BenchmarkSign is what a message of ours of 4 KiB costs, beside one RSA and
// one Ed25519 signature.
func BenchmarkSign(b *testing.B) {
	body := prose(4 << 10)
	digest := sha256.Sum256(nil)
	ratio := beside(b, func() { signedWith(b, testKeys(), body) }, func() {
		for _, k := range testKeys() {
			if _, err := k.Sign(digest); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.ReportMetric(ratio, "×raw")
}
