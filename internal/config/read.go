package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// maxFile bounds the configuration file, in octets.
const maxFile = 1 << 20

// Paths are the files that are tried, in order, when none is named.
var Paths = []string{"gatepost.toml", "/etc/gatepost/gatepost.toml", "/var/lib/gatepost/gatepost.toml"}

// Find returns the file to read: path if it is given, else the first of
// Paths that exists.
func Find(path string) (string, error) {
	if path != "" {
		return path, nil
	}
	for _, p := range Paths {
		if _, err := os.Stat(p); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("there is no %s here, no %s and no %s; make one with gatepost init, or name yours with --config FILE", Paths[0], Paths[1], Paths[2])
}

// Read reads and validates the file at path. Its errors are sentences that
// name the file and the line.
func Read(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	case len(text) > maxFile:
		return nil, fmt.Errorf("%s is larger than a configuration can be (%d octets)", path, maxFile)
	}
	return Parse(path, text)
}

// Parse validates text as the content of the file at path, which need not
// exist.
func Parse(path string, text []byte) (*Config, error) {
	c := Default()
	c.file, c.text = path, text
	// Where the file is must not depend on where the process goes.
	if abs, err := filepath.Abs(path); err == nil {
		c.dir = filepath.Dir(abs)
	}
	dec := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields()
	if err := dec.Decode(c); err != nil {
		return nil, decodeError(path, err)
	}
	var err error
	if c.lines, err = findLines(text); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := c.validate(); err != nil {
		return nil, err
	}
	return c, nil
}

// decodeError turns the decoder's error into a sentence with file and line.
func decodeError(path string, err error) error {
	var unknown *toml.StrictMissingError
	var wrong *toml.DecodeError
	switch {
	case errors.As(err, &unknown) && len(unknown.Errors) > 0:
		e := unknown.Errors[0]
		line, _ := e.Position()
		return fmt.Errorf("%s:%d: there is no setting %s", path, line, strings.Join(e.Key(), "."))
	case errors.As(err, &wrong):
		line, _ := wrong.Position()
		what := strings.TrimPrefix(wrong.Error(), "toml: ")
		if key := strings.Join(wrong.Key(), "."); key != "" {
			what = key + ": " + what
		}
		return fmt.Errorf("%s:%d: %s", path, line, what)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// File returns the path of the file that c was read from.
func (c *Config) File() string { return c.file }

// Text returns what c was read from.
func (c *Config) Text() []byte { return c.text }

// Path returns a path of the file as seen from the file's own directory.
func (c *Config) Path(p string) string {
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(c.dir, p)
}

// DataDir returns the directory of everything that is stored.
func (c *Config) DataDir() string { return c.Path(c.Data) }
