package mbox

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatepost/internal/message"
)

// from begins a From_ line.
var from = []byte("From ")

// separator is what a From_ line says.
type separator struct {
	sender string
	date   time.Time
	bare   bool // no more than one word: Thunderbird writes "From " and "From - "
}

func (s *separator) dated() bool { return !s.date.IsZero() }

var days = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// parseFrom reads a line that begins with "From ".
func parseFrom(line []byte) separator {
	line = bytes.TrimRight(line[:min(len(line), maxFrom)], "\r\n")
	line, ok := bytes.CutPrefix(line, from)
	if !ok {
		return separator{}
	}
	words := strings.Fields(string(line))
	for i, w := range words {
		w = strings.ToLower(strings.TrimSuffix(w, ","))
		if len(w) < 3 || !slices.Contains(days, w[:3]) {
			continue
		}
		if date, ok := parseDate(words[i+1:]); ok {
			return separator{sender: strings.Join(words[:i], " "), date: date}
		}
	}
	return separator{sender: strings.Join(words, " "), bare: len(words) <= 1}
}

// maxDateWords bounds the words after the day of the week that are looked at.
const maxDateWords = 7

// parseDate reads what follows the day of the week: that of asctime(3), with
// the zone before the year, after it, or missing (UTC), with or without
// seconds; or that of RFC 5322. Anything may follow.
func parseDate(words []string) (time.Time, bool) {
	var day, month, year, hours, zone string
	for _, w := range words[:min(len(words), maxDateWords)] {
		if w == "remote" { // UUCP: "remote from HOST" ends the line
			break
		}
		digits := w[0] >= '0' && w[0] <= '9'
		switch {
		case strings.Contains(w, ":") && hours == "":
			hours = w
		case digits && len(w) <= 2 && day == "":
			day = w
		case digits && len(w) == 4 && year == "":
			year = w
		case !digits && month == "":
			month = w
		case !digits && zone == "":
			zone = w
		case w == "DST":
		default:
			return time.Time{}, false
		}
	}
	if day == "" || month == "" || year == "" || hours == "" {
		return time.Time{}, false
	}
	t, err := message.ParseDate(fmt.Sprintf("%s %s %s %s %s", day, month, year, hours, zone))
	// The first second of 1970 is what programs write that know no date.
	return t, err == nil && t.UTC().Year() >= 1970 && t.UTC().Year() <= 9999
}
