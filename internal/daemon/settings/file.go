package settings

import (
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"gatepost/internal/backup"
	"gatepost/internal/config"
)

// Saved reads the configuration for a backup. Where the file cannot be used,
// being edited perhaps, it is the one that is in force.
func Saved(inForce *config.Config) (*backup.Config, error) {
	cfg, err := config.Read(inForce.File())
	if err != nil {
		cfg = inForce
	}
	c := &backup.Config{Text: cfg.Text(), Stale: err}
	for setting, path := range cfg.Files() {
		f := backup.File{Setting: setting, Path: path}
		f.Content, f.Err = ReadFile(path)
		c.Files = append(c.Files, f)
	}
	slices.SortFunc(c.Files, func(a, b backup.File) int {
		if a.Setting < b.Setting {
			return -1
		}
		return 1
	})
	return c, nil
}

// maxConfigFile bounds a file that the configuration names, in octets.
const maxConfigFile = 1 << 20

// ReadFile reads a file that the configuration names.
func ReadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err == nil && len(b) > maxConfigFile {
		err = fmt.Errorf("it is larger than %d octets", maxConfigFile)
	}
	return b, err
}

// maxPasswordFile bounds the password of a route, in octets.
const maxPasswordFile = 4096

// ReadPassword reads the first line of a file each time it is needed, so
// that it can be changed without a restart.
func ReadPassword(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPasswordFile))
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSuffix(line, "\r"), err
}

// Roots returns who may vouch for other servers: nil, which is the system's
// own, unless a file adds to them.
func Roots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("tls.roots: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("tls.roots: there is no certificate in %s", file)
	}
	return pool, nil
}
