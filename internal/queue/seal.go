package queue

import (
	"bytes"
	"io"

	"gatepost/internal/dkim"
)

// sealer signs a message on its way.
type sealer struct {
	w     io.Writer
	begin func(section []byte) (*dkim.Signer, error)

	header []byte // as far as it has come
	body   bool   // the header is over
	signer *dkim.Signer
}

func (s *sealer) Write(p []byte) (int, error) {
	if err := s.see(p); err != nil {
		return 0, err
	}
	return s.w.Write(p)
}

func (s *sealer) see(p []byte) (err error) {
	if !s.body {
		s.header = append(s.header, p...)
		section, rest, over := bytes.Cut(s.header, []byte("\r\n\r\n"))
		if !over {
			return nil
		}
		s.body, p = true, rest
		s.signer, err = s.begin(append(section, "\r\n"...))
	}
	if s.signer != nil {
		_, _ = s.signer.Write(p) // which never fails
	}
	return err
}

// end returns the signatures, none if the message is not signed.
func (s *sealer) end() ([]byte, error) {
	if s.signer == nil {
		return nil, nil
	}
	return s.signer.Sign()
}
