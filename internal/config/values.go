package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of octets, written as "50MiB", "64KiB", "2GiB" or a plain
// number.
type Size int64

var sizeUnits = []struct {
	suffix string
	octets int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(b []byte) error {
	digits, unit := string(b), int64(1)
	for _, u := range sizeUnits {
		if d, ok := strings.CutSuffix(digits, u.suffix); ok {
			digits, unit = strings.TrimSpace(d), u.octets
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return fmt.Errorf("%q is not a size; write it like \"50MiB\"", b)
	}
	*s = Size(n * unit)
	return nil
}

// MarshalText writes the size with the largest unit that leaves it whole.
func (s Size) MarshalText() ([]byte, error) {
	for _, u := range sizeUnits {
		if s != 0 && int64(s)%u.octets == 0 {
			return fmt.Appendf(nil, "%d%s", int64(s)/u.octets, u.suffix), nil
		}
	}
	return []byte("0"), nil
}

func (s Size) String() string {
	b, _ := s.MarshalText()
	return string(b)
}

// Span is a length of time, written as "90s", "5m", "4h" or "30d".
type Span time.Duration

const day = 24 * time.Hour

// UnmarshalText reads a span.
func (s *Span) UnmarshalText(b []byte) error {
	bad := fmt.Errorf("%q is not a length of time; write it like \"30s\", \"5m\", \"4h\" or \"5d\"", b)
	if days, ok := strings.CutSuffix(string(b), "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil || n > 36500 {
			return bad
		}
		*s = Span(time.Duration(n) * day)
		return nil
	}
	d, err := time.ParseDuration(string(b))
	if err != nil || d < 0 {
		return bad
	}
	*s = Span(d)
	return nil
}

// MarshalText writes the span as it would be read.
func (s Span) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s Span) String() string {
	d := time.Duration(s)
	if d != 0 && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	out := d.String() // "4h0m0s"
	if strings.HasSuffix(out, "m0s") {
		out = strings.TrimSuffix(out, "0s")
	}
	if strings.HasSuffix(out, "h0m") {
		out = strings.TrimSuffix(out, "0m")
	}
	return out
}
