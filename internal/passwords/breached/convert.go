package breached

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"
)

const (
	// maxLine bounds a line: a hash, a colon, a count.
	maxLine = 128
	// maxRange bounds the passwords of one file of a range; there are some
	// two thousand.
	maxRange = 1 << 16
	// rangeDigits is how many digits the name of a range has: a million
	// files.
	rangeDigits = 5
)

// Convert makes a list of a text with one hash a line, as Have I Been Pwned
// offers it: SHA-1 or NTLM in hexadecimal, then perhaps a colon and how often
// it was seen, in ascending order. Memory does not grow with the text.
func Convert(text io.Reader, to io.Writer, made time.Time) (Info, error) {
	var w *writer
	lines := newLines(text)
	for lines.Scan() {
		l, err := parseLine(lines.Bytes(), 0, 0)
		if err == nil && w == nil {
			w, err = newWriter(to, l.hash)
		}
		switch {
		case err != nil:
		case l.hash != w.hash:
			err = fmt.Errorf("it is of another length than those before it")
		case !l.padding:
			err = w.add(l.key)
		}
		if errors.Is(err, errOrder) {
			err = errors.New("it comes after a greater one; take the list that is ordered by hash, or sort it with: LC_ALL=C sort")
		}
		if err != nil {
			return Info{}, fmt.Errorf("line %d: %w", lines.n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return Info{}, err
	}
	if w == nil {
		return Info{}, errors.New("it is empty")
	}
	return w.end(made)
}

// ConvertRanges is Convert for a directory with a file for each range, as
// 00000.txt to FFFFF.txt, in which the hashes lack what the name says. step
// is told of each file.
func ConvertRanges(dir fs.FS, to io.Writer, made time.Time, step func(done, total int64)) (Info, error) {
	return convertRanges(dir, rangeDigits, to, made, step)
}

func convertRanges(dir fs.FS, digits int, to io.Writer, made time.Time, step func(done, total int64)) (Info, error) {
	var w *writer
	total := int64(1) << (4 * digits)
	for i := range total {
		name := fmt.Sprintf("%0*X", digits, i)
		hash, keys, err := readRange(dir, name, uint64(i)<<(64-4*digits))
		if err == nil && w == nil {
			w, err = newWriter(to, hash)
		}
		if err == nil && hash != w.hash {
			err = errors.New("it has hashes of another length than those before it")
		}
		for _, key := range keys {
			if err == nil {
				err = w.add(key)
			}
		}
		if err != nil {
			return Info{}, fmt.Errorf("range %s: %w", name, err)
		}
		step(i+1, total)
	}
	return w.end(made)
}

// readRange returns the keys of one range, in order; prefix is what its name
// gives of each.
func readRange(dir fs.FS, name string, prefix uint64) (hash Hash, keys []uint64, err error) {
	f, err := dir.Open(name + ".txt")
	if errors.Is(err, fs.ErrNotExist) {
		f, err = dir.Open(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil, errors.New("its file is missing: the download is not complete")
	}
	if err != nil {
		return 0, nil, err
	}
	defer f.Close()
	lines := newLines(f)
	for lines.Scan() {
		l, err := parseLine(lines.Bytes(), len(name), prefix)
		if err == nil && lines.n > maxRange {
			err = fmt.Errorf("there are more than %d", maxRange)
		}
		if err == nil && lines.n > 1 && l.hash != hash {
			err = errors.New("it is of another length than those before it")
		}
		if err != nil {
			return 0, nil, fmt.Errorf("line %d: %w", lines.n, err)
		}
		hash = l.hash
		if !l.padding {
			keys = append(keys, l.key)
		}
	}
	if err := lines.Err(); err != nil {
		return 0, nil, err
	}
	if lines.n == 0 {
		return 0, nil, errors.New("its file is empty: the download is not complete")
	}
	slices.Sort(keys)
	return hash, keys, nil
}

// lines counts the lines that it reads.
type lines struct {
	*bufio.Scanner
	n int
}

func newLines(r io.Reader) *lines {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 64<<10), 64<<10)
	return &lines{Scanner: s}
}

func (l *lines) Scan() bool {
	if !l.Scanner.Scan() {
		return false
	}
	l.n++
	return true
}

func (l *lines) Err() error {
	err := l.Scanner.Err()
	if errors.Is(err, bufio.ErrTooLong) {
		err = fmt.Errorf("line %d: %w", l.n+1, errNoHash)
	}
	return err
}

// line is one hash.
type line struct {
	hash    Hash
	key     uint64
	padding bool // no password: it is there to hide how long the answer is
}

var errNoHash = errors.New("it is not a SHA-1 or NTLM hash in hexadecimal, with or without a count behind a colon")

// parseLine reads a line whose hash lacks its first digits, which are those
// of prefix.
func parseLine(b []byte, lacking int, prefix uint64) (line, error) {
	if len(b) > maxLine {
		return line{}, errNoHash
	}
	text, count, counted := strings.Cut(strings.TrimRight(string(b), " \r"), ":")
	if counted && (count == "" || strings.Trim(count, "0123456789") != "") {
		return line{}, errNoHash
	}
	hash, ok := ofDigits(len(text) + lacking)
	if !ok {
		return line{}, errNoHash
	}
	key := prefix
	for i := range len(text) {
		d := digit(text[i])
		if d > 15 {
			return line{}, errNoHash
		}
		if shift := 60 - 4*(i+lacking); shift >= 0 {
			key |= uint64(d) << shift
		}
	}
	return line{hash, key, counted && strings.Trim(count, "0") == ""}, nil
}

// digit returns the value of a hexadecimal digit, 16 or more if it is none.
func digit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}
