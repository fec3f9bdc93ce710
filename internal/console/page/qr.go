package page

import (
	"fmt"
	"html/template"
	"strings"

	"rsc.io/qr"
)

// quietZone is the margin that a reader needs around a code, in modules:
// ISO/IEC 18004, section 5.3.8.
const quietZone = 4

// drawQR draws a text as a QR code, in a picture that stands in the page
// itself: nothing that is a secret gets an address of its own. There is none
// of what has no room in one. The light ground is drawn too, since a code in
// light on dark is not read by every camera.
func drawQR(text, label string) template.HTML {
	code, err := qr.Encode(text, qr.M)
	if err != nil || text == "" {
		return ""
	}
	var b strings.Builder
	side := code.Size + 2*quietZone
	fmt.Fprintf(&b, `<svg class="qr" role="img" aria-label="%s" viewBox="0 0 %d %d" shape-rendering="crispEdges"><rect width="100%%" height="100%%" fill="#fff"/><path fill="#000" d="`,
		template.HTMLEscapeString(label), side, side)
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			n := 0
			for x+n < code.Size && code.Black(x+n, y) {
				n++
			}
			if n > 0 {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", x+quietZone, y+quietZone, n, n)
				x += n
			}
		}
	}
	b.WriteString(`"/></svg>`)
	return template.HTML(b.String())
}
