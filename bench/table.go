package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const head = `| work | server | result | × Postfix | of the client's limit | ack p50 / p99, ms | CPU a 1,000, s | beside |
|---|---|---|---|---|---|---|---|
`

// rows shows a line: the medians of its rounds. Ratios are medians of the
// ratios within each round, since the machine drifts between rounds.
func (l line) rows(rounds []round) string {
	rows := l.row("Gatepost", rounds, func(r round) figures { return r.gatepost })
	if !l.alone {
		rows += l.row("Postfix", rounds, func(r round) figures { return r.postfix })
	}
	return rows
}

func (l line) row(name string, rounds []round, of func(round) figures) string {
	median := func(f func(round) float64) float64 { return middle(rounds, f) }
	ours := name == "Gatepost"
	over, part := "", ""
	if ours && !l.alone {
		over = show("%.1f", median(func(r round) float64 { return r.gatepost.rate / r.postfix.rate })) + goal(l.overPostfix)
	}
	if l.limit != nil {
		part = show("%.2f", median(func(r round) float64 { return of(r).rate / r.limit }))
		if ours {
			part += goal(l.ofLimit)
		}
	}
	ack := ""
	if p99 := median(func(r round) float64 { return of(r).p99 }); p99 > 0 {
		ack = fmt.Sprintf("%.1f / %.1f", median(func(r round) float64 { return of(r).p50 }), p99)
	}
	format := "%.0f %s"
	if l.fine {
		format = "%.2f %s"
	}
	return fmt.Sprintf("| %s | %s | "+format+" | %s | %s | %s | %s | %s |\n", l.name, name,
		median(func(r round) float64 { return of(r).rate }), l.unit, over, part, ack,
		show("%.3f", median(func(r round) float64 { return of(r).cpu.Seconds() })), l.beside(rounds, of))
}

// beside tells what else was seen.
func (l line) beside(rounds []round, of func(round) figures) string {
	var list []string
	for _, what := range []struct {
		format string
		of     func(figures) float64
	}{
		{"end to end %.0f " + l.unit, func(f figures) float64 { return f.relay }},
		{"the last delivery %.2f s after the last acknowledgement", func(f figures) float64 { return f.lag }},
		{"client and sink use %.3f s", func(f figures) float64 { return f.others.Seconds() }},
		{"at most %.0f MiB", func(f figures) float64 { return float64(f.peak) / 1024 }},
	} {
		if s := show(what.format, middle(rounds, func(r round) float64 { return what.of(of(r)) })); s != "" {
			list = append(list, s)
		}
	}
	if note := of(rounds[len(rounds)-1]).note; note != "" {
		list = append(list, note)
	}
	return strings.Join(list, "; ")
}

func goal(g float64) string {
	if g == 0 {
		return ""
	}
	return fmt.Sprintf(" (goal %g)", g)
}

// show is empty for what was not measured.
func show(format string, f float64) string {
	if f == 0 {
		return ""
	}
	return fmt.Sprintf(format, f)
}

func middle(rounds []round, f func(round) float64) float64 {
	var list []float64
	for _, r := range rounds {
		list = append(list, f(r))
	}
	slices.Sort(list)
	return list[len(list)/2]
}

func per1000(d time.Duration, n int) time.Duration { return d * 1000 / time.Duration(n) }
