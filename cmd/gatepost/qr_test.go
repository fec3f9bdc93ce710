package main

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"rsc.io/qr"
)

// What is drawn is the code, module by module, dark on light, with its margin.
func TestPrintQR(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "abcd-efgh-jkmn-pqrs-tvwx-yz01-2345", "otpauth://totp/Gatepost:anna%40example.org?secret=JBSWY3DPEHPK3PXP&issuer=Gatepost"} {
		var out bytes.Buffer
		if err := printQR(&out, text); err != nil {
			t.Fatal(err)
		}
		code, err := qr.Encode(text, qr.M)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		side := code.Size + 2*quietZone
		if len(lines) != (side+1)/2 {
			t.Fatalf("%d lines for %d modules", len(lines), side)
		}
		for i, line := range lines {
			line, begins := strings.CutPrefix(line, blackOnWhite)
			line, ends := strings.CutSuffix(line, asItWas)
			cells := []rune(line)
			if !begins || !ends || len(cells) != side {
				t.Fatalf("line %d: %q", i, line)
			}
			for j, c := range cells {
				x, y := j-quietZone, 2*i-quietZone
				if upper, lower := strings.ContainsRune("▀█", c), strings.ContainsRune("▄█", c); upper != code.Black(x, y) || lower != code.Black(x, y+1) {
					t.Fatalf("%q at %d, %d", c, x, y)
				}
			}
		}
	}
	if err := printQR(io.Discard, strings.Repeat("x", 5000)); err == nil {
		t.Error("more than a code holds")
	}
}
