// Package matrix reads the table of docs/transport.md: for each thing that is
// done to a next hop, beside each policy, what is to come of a message, what
// is to be reported, and by whose word. The table is written by hand from the
// RFCs; whoever runs its cells compares with it, so that neither page nor code
// can drift. Only tests read it.
package matrix

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// Table is the whole of it.
type Table struct {
	Columns []string // the policies
	Rows    []Row
}

// Row is one condition.
type Row struct {
	Condition string
	Cells     []Cell // one for each column
}

// Cell is what is to come of one condition beside one policy.
type Cell struct {
	// Outcome is verified, encrypted or clear where the message goes, wait or
	// fails where it does not.
	Outcome string
	Status  string // enhanced, of wait and fails
	// Reports are the failures that are reported, in order, each as the kind
	// of policy and a result of RFC 8460: "sts:certificate-expired".
	Reports []string
	Why     string // whose word it is: sections of RFCs, or the operator's
}

// The marks around the table.
const (
	start = "<!-- the matrix -->\n"
	end   = "<!-- end of the matrix -->\n"
)

// kinds are the policies of RFC 8460, section 4.4, as a cell writes them.
var kinds = []string{"none", "sts", "tlsa"}

// Read reads the table of a page.
func Read(page string) (*Table, error) {
	b, err := os.ReadFile(page)
	if err != nil {
		return nil, err
	}
	_, rest, ok := strings.Cut(string(b), start)
	text, _, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return nil, fmt.Errorf("%s has no table between the marks", page)
	}
	var t Table
	for line := range strings.Lines(text) {
		fields := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range fields {
			fields[i] = strings.TrimSpace(fields[i])
		}
		switch {
		case t.Columns == nil:
			t.Columns = fields[1:]
		case strings.HasPrefix(fields[0], "---"):
		default:
			r, err := readRow(fields, len(t.Columns))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", page, err)
			}
			t.Rows = append(t.Rows, r)
		}
	}
	return &t, nil
}

func readRow(fields []string, columns int) (Row, error) {
	r := Row{Condition: fields[0]}
	if len(fields)-1 != columns {
		return r, fmt.Errorf("%q has %d cells", r.Condition, len(fields)-1)
	}
	for _, f := range fields[1:] {
		c, err := readCell(f)
		if err != nil {
			return r, fmt.Errorf("%q: %w", r.Condition, err)
		}
		r.Cells = append(r.Cells, c)
	}
	return r, nil
}

// readCell reads "outcome; reports; why", where the reports may be missing.
func readCell(text string) (Cell, error) {
	parts := strings.Split(text, "; ")
	if len(parts) < 2 || len(parts) > 3 {
		return Cell{}, fmt.Errorf("%q is no cell", text)
	}
	var c Cell
	c.Outcome, c.Status, _ = strings.Cut(parts[0], " ")
	refused := c.Outcome == "wait" || c.Outcome == "fails"
	if !refused && !slices.Contains([]string{"verified", "encrypted", "clear"}, c.Outcome) || refused != (c.Status != "") {
		return Cell{}, fmt.Errorf("%q is no outcome", parts[0])
	}
	c.Why = parts[len(parts)-1]
	if len(parts) == 3 {
		c.Reports = strings.Split(parts[1], ", ")
	}
	for _, r := range c.Reports {
		if kind, result, _ := strings.Cut(r, ":"); !slices.Contains(kinds, kind) || result == "" {
			return Cell{}, fmt.Errorf("%q is no report", r)
		}
	}
	if !slices.IsSorted(c.Reports) {
		return Cell{}, fmt.Errorf("%q is not in order", parts[1])
	}
	return c, nil
}

// Goes reports whether the message is handed over.
func (c Cell) Goes() bool { return c.Outcome != "wait" && c.Outcome != "fails" }

// String returns the cell without whose word it is.
func (c Cell) String() string {
	s := c.Outcome
	if c.Status != "" {
		s += " " + c.Status
	}
	if len(c.Reports) > 0 {
		s += "; " + strings.Join(c.Reports, ", ")
	}
	return s
}

// Policy returns what a proof names as the policy, by the last of those whose
// word it is.
func (c Cell) Policy(column string) string {
	last := c.Why[strings.LastIndex(c.Why, ", ")+1:]
	switch rfc, _, _ := strings.Cut(strings.TrimSpace(last), " "); rfc {
	case "7672":
		return "DANE"
	case "8461":
		if column == "STS testing" {
			return "MTA-STS (testing)"
		}
		return "MTA-STS (enforce)"
	case "8689":
		if strings.HasSuffix(last, "4.2.2") {
			return "TLS-Required: No"
		}
		return "REQUIRETLS"
	case "memory":
		return "remembered (verify)"
	case "default":
		return "default (verify)"
	case "route":
		return "route (" + strings.TrimPrefix(column, "route ") + ")"
	}
	return "none"
}
