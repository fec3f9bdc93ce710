package message

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// ErrDate says that a value names no moment.
var ErrDate = errors.New("not a date")

// maxDate bounds what ParseDate looks at, in octets.
const maxDate = 256

// Date returns t as a Date field holds it: RFC 5322, section 3.3, with the
// zone as a number.
func Date(t time.Time) string { return t.Format("Mon, 02 Jan 2006 15:04:05 -0700") }

// ParseDate reads the value of a Date field as programs have written it over
// the years: RFC 5322, section 3.3 and the obsolete forms of section 4.3,
// with comments, without the day of the week, without seconds, with two or
// three digits of a year, and with zones that are names or missing (UTC).
func ParseDate(s string) (time.Time, error) {
	if len(s) > maxDate {
		return time.Time{}, ErrDate
	}
	f := dateFields(s)
	if len(f) > 0 && (len(f[0]) == 0 || f[0][0] < '0' || f[0][0] > '9') {
		f = f[1:] // the day of the week says nothing that the date does not
	}
	if len(f) < 4 {
		return time.Time{}, ErrDate
	}
	day, ok1 := number(f[0], 1, 31)
	month, ok2 := monthNumber(f[1])
	year, ok3 := fullYear(f[2])
	hour, minute, second, ok4 := clockTime(f[3])
	zone, ok5 := 0, true
	if len(f) > 4 {
		zone, ok5 = zoneOffset(f[4])
	}
	if !(ok1 && ok2 && ok3 && ok4 && ok5) {
		return time.Time{}, ErrDate
	}
	loc := time.UTC
	if zone != 0 {
		loc = time.FixedZone("", zone)
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, 0, loc)
	if t.Day() != day { // 31 February; a leap second moves only the minute
		return time.Time{}, ErrDate
	}
	return t, nil
}

// dateFields splits at white space and commas, and drops comments.
func dateFields(s string) []string {
	depth := 0
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '(':
			depth++
		case r == ')' && depth > 0:
			depth--
		case depth == 0 && r != ',' && r != '\t' && r != '\r' && r != '\n':
			return r
		}
		return ' '
	}, s)
	return strings.Fields(s)
}

func number(s string, least, most int) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return int(n), err == nil && int(n) >= least && int(n) <= most
}

const months = "janfebmaraprmayjunjulaugsepoctnovdec"

func monthNumber(s string) (int, bool) {
	if len(s) < 3 {
		return 0, false
	}
	i := strings.Index(months, strings.ToLower(s[:3]))
	return i/3 + 1, i >= 0 && i%3 == 0
}

// fullYear completes short years: RFC 5322, section 4.3.
func fullYear(s string) (int, bool) {
	y, ok := number(s, 0, 9999)
	switch {
	case len(s) == 2 && y < 50:
		y += 2000
	case len(s) == 2 || len(s) == 3:
		y += 1900
	}
	return y, ok && len(s) >= 2
}

// clockTime reads hh:mm or hh:mm:ss.
func clockTime(s string) (hour, minute, second int, ok bool) {
	p := strings.Split(s, ":")
	if len(p) < 2 || len(p) > 3 {
		return 0, 0, 0, false
	}
	hour, ok1 := number(p[0], 0, 23)
	minute, ok2 := number(p[1], 0, 59)
	ok3 := true
	if len(p) == 3 {
		second, ok3 = number(p[2], 0, 60)
	}
	return hour, minute, second, ok1 && ok2 && ok3
}

// zoneNames are those that RFC 5322, section 4.3 gives a meaning, in hours.
// All others count as -0000: the time as it is, from nobody knows where.
var zoneNames = map[string]int{
	"EDT": -4, "EST": -5, "CDT": -5, "CST": -6, "MDT": -6, "MST": -7, "PDT": -7, "PST": -8,
}

// zoneOffset returns the seconds east of UTC.
func zoneOffset(s string) (int, bool) {
	if s[0] != '+' && s[0] != '-' {
		return zoneNames[strings.ToUpper(s)] * 3600, true
	}
	digits := strings.ReplaceAll(s[1:], ":", "")
	if len(digits) != 4 {
		return 0, false
	}
	hours, ok1 := number(digits[:2], 0, 99)
	minutes, ok2 := number(digits[2:], 0, 59)
	offset := hours*3600 + minutes*60
	if s[0] == '-' {
		offset = -offset
	}
	return offset, ok1 && ok2
}
