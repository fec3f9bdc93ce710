package smtpd

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"gatepost/internal/envelope"
)

// TestDialogues runs the scripts in testdata/chasquid. Each line is a name,
// "c", and
//
//	tcp_connect, tls_connect   to the MX, or to submission over TLS
//	-> line                    send a line
//	~> expression              send what a Python expression comes to
//	<... line                  read until this line
//	<~ regexp, <- line         read a line: here its code decides
func TestDialogues(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("testdata/chasquid/*.cmy")
	if err != nil || len(scripts) < 18 {
		t.Fatalf("%d scripts, %v", len(scripts), err)
	}
	for _, name := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".cmy"), func(t *testing.T) {
			t.Parallel()
			script, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			d := dialogue{t: t, mx: newSite(envelope.MX, nil), submission: newSite(envelope.Submission, nil)}
			for i, line := range strings.Split(string(script), "\n") {
				if line != "" && line[0] != '#' {
					d.step(i+1, strings.TrimPrefix(line, "c "))
				}
			}
		})
	}
}

type dialogue struct {
	t              *testing.T
	mx, submission *site
	c              *client
}

func (d *dialogue) step(n int, line string) {
	d.t.Helper()
	verb, arg, _ := strings.Cut(line, " ")
	switch verb {
	case "tcp_connect":
		d.c = d.mx.dial(d.t, false)
	case "tls_connect":
		d.c = d.submission.dial(d.t, true)
	case "close":
		d.c.conn.Close()
	case "->":
		d.c.send(arg + "\r\n")
	case "~>":
		d.c.send(evaluate(d.t, arg))
	case "<...":
		for l := ""; l != arg; l = d.line(n) {
		}
	case "<~", "<-":
		if got := d.line(n); got[:3] != arg[:3] {
			d.t.Fatalf("line %d: got %q, want %q", n, got, arg)
		}
	default:
		d.t.Fatalf("line %d: what is %q?", n, line)
	}
}

func (d *dialogue) line(n int) string {
	d.t.Helper()
	l, err := d.c.r.ReadString('\n')
	if err != nil || len(l) < 5 {
		d.t.Fatalf("line %d: read %q, %v", n, l, err)
	}
	return strings.TrimRight(l, "\r\n")
}

// evaluate knows strings, +, *, parentheses and numbers of Python.
func evaluate(t *testing.T, s string) string {
	p := &python{t: t, rest: s}
	return p.sum()
}

type python struct {
	t    *testing.T
	rest string
}

func (p *python) eat(c string) bool {
	p.rest = strings.TrimLeft(p.rest, " ")
	after, ok := strings.CutPrefix(p.rest, c)
	if ok {
		p.rest = after
	}
	return ok
}

func (p *python) sum() string {
	s := p.product()
	for p.eat("+") {
		s += p.product()
	}
	return s
}

func (p *python) product() string {
	s := p.factor()
	for p.eat("*") {
		p.eat(" ")
		i := 0
		for i < len(p.rest) && p.rest[i] >= '0' && p.rest[i] <= '9' {
			i++
		}
		n, err := strconv.Atoi(p.rest[:i])
		if err != nil {
			p.t.Fatal(err)
		}
		p.rest = p.rest[i:]
		s = strings.Repeat(s, n)
	}
	return s
}

func (p *python) factor() string {
	if p.eat("(") {
		s := p.sum()
		if !p.eat(")") {
			p.t.Fatalf("no ) before %q", p.rest)
		}
		return s
	}
	if !p.eat("'") {
		p.t.Fatalf("no string at %q", p.rest)
	}
	text, rest, _ := strings.Cut(p.rest, "'")
	p.rest = rest
	s, err := strconv.Unquote(`"` + text + `"`)
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}
