package keys

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Bounds of what is taken for a file of keys.
const (
	maxFiles = 1000
	maxFile  = 1 << 20 // octets
	maxName  = 64      // octets
)

// ErrName says that a file of keys cannot have this name.
var ErrName = errors.New("keys: not the name of a file of keys")

// validName holds the grammar that keeps a name inside its directory.
func validName(name string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
	return name != "" && len(name) <= maxName && name[0] != '.' && strings.Trim(name, letters) == ""
}

// Each calls f with every file of the directory, for a backup: what it is
// given is the secret itself.
func (k *Keys) Each(f func(name string, content []byte) error) error {
	list, err := os.ReadDir(k.dir)
	if err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	if len(list) > maxFiles {
		return fmt.Errorf("keys: %s has %d files, which cannot all be keys", k.dir, len(list))
	}
	for _, e := range list {
		if !e.Type().IsRegular() || !validName(e.Name()) {
			continue
		}
		content, err := readBounded(filepath.Join(k.dir, e.Name()))
		if err != nil {
			return fmt.Errorf("keys: %w", err)
		}
		if err := f(e.Name(), content); err != nil {
			return err
		}
	}
	return nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s is larger than a key can be (%d octets)", path, maxFile)
	}
	return b, err
}

// Put brings back a file that Each has given, durably, into a directory that
// is made when it is missing.
func Put(dir, name string, content []byte) error {
	if !validName(name) {
		return fmt.Errorf("%w: %q", ErrName, name)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	if err := writeFile(filepath.Join(dir, name), content); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	return nil
}
