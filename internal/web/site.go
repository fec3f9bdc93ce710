package web

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"gatepost/internal/addr"
	"gatepost/internal/mtasts"
)

// policyPath is where a policy is: RFC 8461, section 3.3.
const policyPath = "/.well-known/mta-sts.txt"

// policyHost begins the name of the host that has a domain's policy.
const policyHost = "mta-sts."

// challengePath is where an ACME server looks: RFC 8555, section 8.3.
const challengePath = "/.well-known/acme-challenge/"

// maxToken bounds the token of a challenge, in octets; an ACME server's has
// about 43.
const maxToken = 256

// Site is what the doors answer. All fields are required.
type Site struct {
	Hostname addr.Domain // the server's own
	// Policy returns the MTA-STS policy of a domain, if it is ours.
	Policy func(context.Context, addr.Domain) (policy mtasts.Policy, ours bool, err error)
	// Challenge returns the answer to an ACME challenge for a host, if there
	// is one.
	Challenge func(ctx context.Context, host, token string) (answer string, ok bool)
	// Console answers over https for the server's own name. It gets bodies as
	// they come, and bounds them.
	Console http.Handler
	// HTTPSPort is where a redirect leads; 0: nowhere, since the door is shut.
	HTTPSPort int
	Log       *slog.Logger
}

// Secure answers over https.
func (s *Site) Secure() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+policyPath, s.policy)
	others := bodiless(mux)
	return s.guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked(r) == s.Hostname {
			s.Console.ServeHTTP(w, r)
			return
		}
		others.ServeHTTP(w, r)
	}))
}

// Plain answers over http.
func (s *Site) Plain() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+challengePath+"{token}", s.challenge)
	mux.HandleFunc("GET /", s.redirect)
	return s.guard(bodiless(mux))
}

// bodiless takes nothing.
func bodiless(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			w.Header().Set("Connection", "close") // and the body stays unread
			http.Error(w, "nothing is taken here", http.StatusRequestEntityTooLarge)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// guard lets nothing pass but what somebody who reads would ask.
func (s *Site) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Content-Security-Policy", "default-src 'none'")
		host, ok := hostOf(r)
		switch {
		case !ok:
			http.Error(w, "which host?", http.StatusBadRequest)
		case r.TLS != nil && r.TLS.ServerName != "" && !strings.EqualFold(r.TLS.ServerName, string(host)):
			// RFC 9110, section 7.4: the certificate that the client has seen
			// is not the one of the host that it asks.
			http.Error(w, "not here", http.StatusMisdirectedRequest)
		default:
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), hostKey{}, host)))
		}
	})
}

// hostKey is where guard leaves the host.
type hostKey struct{}

func asked(r *http.Request) addr.Domain {
	host, _ := r.Context().Value(hostKey{}).(addr.Domain)
	return host
}

// hostOf reads the host that a client asks, which must be a name. The port
// is not looked at: it may be another's, who forwards to us.
func hostOf(r *http.Request) (addr.Domain, bool) {
	name := r.Host
	if h, port, err := net.SplitHostPort(name); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return "", false
		}
		name = h
	}
	d, err := addr.ParseDomain(strings.TrimSuffix(name, "."))
	if err != nil {
		return "", false
	}
	_, literal := d.IP()
	return d, !literal
}

// policy hands out the policy of the domain that the host is of.
func (s *Site) policy(w http.ResponseWriter, r *http.Request) {
	domain, ok := strings.CutPrefix(string(asked(r)), policyHost)
	if !ok {
		http.NotFound(w, r)
		return
	}
	p, ours, err := s.Policy(r.Context(), addr.Domain(domain))
	switch {
	case err != nil:
		s.Log.Error("cannot say what a domain's MTA-STS policy is", "domain", domain, "error", err)
		http.Error(w, "try again later", http.StatusServiceUnavailable)
	case !ours:
		http.NotFound(w, r)
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8") // RFC 8461, section 3.2
		_, _ = w.Write([]byte(p.String()))
	}
}

// challenge answers an ACME server.
func (s *Site) challenge(w http.ResponseWriter, r *http.Request) {
	token := r.PathValue("token")
	if len(token) > maxToken {
		http.NotFound(w, r)
		return
	}
	answer, ok := s.Challenge(r.Context(), string(asked(r)), token)
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream") // RFC 8555, section 8.3
	_, _ = w.Write([]byte(answer))
}

// redirect leads to the same address over https, if the host is ours:
// otherwise anybody's link through us would look like one to us.
func (s *Site) redirect(w http.ResponseWriter, r *http.Request) {
	ours, err := s.isOurs(r.Context(), asked(r))
	switch {
	case err != nil:
		http.Error(w, "try again later", http.StatusServiceUnavailable)
	case !ours || s.HTTPSPort == 0 || strings.HasPrefix(r.URL.Path, challengePath):
		http.NotFound(w, r)
	default:
		host := string(asked(r))
		if s.HTTPSPort != 443 {
			host = net.JoinHostPort(host, strconv.Itoa(s.HTTPSPort))
		}
		to := url.URL{Scheme: "https", Host: host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
		w.Header().Set("Location", to.String())
		w.WriteHeader(http.StatusPermanentRedirect)
	}
}

func (s *Site) isOurs(ctx context.Context, host addr.Domain) (bool, error) {
	if host == s.Hostname {
		return true, nil
	}
	domain, ok := strings.CutPrefix(string(host), policyHost)
	if !ok {
		return false, nil
	}
	_, ours, err := s.Policy(ctx, addr.Domain(domain))
	return ours, err
}
