// Package api is how the calls of the console take and give JSON. It belongs
// to console.
package api

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
)

// Refusal is a refusal of the API.
type Refusal struct {
	Status int
	Words  string
}

func (e *Refusal) Error() string { return e.Words }

// Refuse returns a refusal.
func Refuse(status int, words string) error { return &Refusal{status, words} }

// Status returns that of a body that could not be read.
func Status(err error, otherwise int) int {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return http.StatusRequestEntityTooLarge
	}
	return otherwise
}

// Read reads the body of a call. JSON alone is taken: a form of another site
// cannot be of that type.
func Read(r *http.Request, v any) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return Refuse(http.StatusUnsupportedMediaType, "the body must be application/json")
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		if code := Status(err, 0); code != 0 {
			return Refuse(code, "the body is too large")
		}
		return Refuse(http.StatusBadRequest, "the body is not what this call takes; docs/console.md tells")
	}
	if _, err := d.Token(); err != io.EOF {
		return Refuse(http.StatusBadRequest, "there is something behind the body")
	}
	return nil
}

// Write answers with a value.
func Write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
