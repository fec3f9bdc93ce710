package main

import (
	"fmt"
	"io"
	"strings"

	"rsc.io/qr"
)

// quietZone is the margin that a reader needs around a code, in modules:
// ISO/IEC 18004, section 5.3.8.
const quietZone = 4

// The colours are set, and not left to the terminal: on a dark one the code
// would be inverted, which not every camera reads.
const (
	blackOnWhite = "\x1b[38;5;16;48;5;231m"
	asItWas      = "\x1b[0m"
)

// printQR draws a text as a QR code for a phone's camera, two rows of modules
// in a line. What it draws may be a secret: it is to be called only for who
// asked to see it.
func printQR(w io.Writer, text string) error {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return fmt.Errorf("this cannot be drawn as a QR code: %w", err)
	}
	halves := map[[2]bool]string{{false, false}: " ", {true, false}: "▀", {false, true}: "▄", {true, true}: "█"}
	var b strings.Builder
	for y := -quietZone; y < code.Size+quietZone; y += 2 {
		b.WriteString(blackOnWhite)
		for x := -quietZone; x < code.Size+quietZone; x++ {
			b.WriteString(halves[[2]bool{code.Black(x, y), code.Black(x, y+1)}]) // Black is false outside
		}
		b.WriteString(asItWas + "\n")
	}
	_, err = io.WriteString(w, b.String())
	return err
}
