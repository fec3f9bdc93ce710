package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// What Postfix needs to do with mail what Gatepost does by itself: OpenDKIM
// verifies and signs, policyd-spf looks at the client. Both are as Debian
// sets them up, but that loopback is not spared.
const (
	filteredCF = `mynetworks = ` + relayFrom + `/32
smtpd_milters = unix:%[1]s/opendkim.sock
milter_default_action = tempfail
smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination, check_policy_service unix:private/policyd-spf
policyd-spf_time_limit = 3600
virtual_alias_maps = texthash:%[1]s/aliases
`
	policydMaster = `policyd-spf unix - n n - 0 spawn user=nobody argv=/usr/bin/policyd-spf %[1]s/policyd-spf.conf
`
	policydConf = `debugLevel = 1
TestOnly = 1
HELO_reject = Fail
Mail_From_reject = Fail
PermError_reject = False
TempError_Defer = False
skip_addresses = 192.0.2.0/24
`
	openDKIMConf = `Socket local:%[1]s/opendkim.sock
UMask 000
Background no
RequireSafeKeys no
Canonicalization relaxed/simple
Mode sv
OversignHeaders From
Domain local.test
Selector s
KeyFile %[1]s/dkim.pem
InternalHosts ` + relayFrom + `
ResolverConfiguration %[1]s/resolver.conf
`
	// OpenDKIM resolves with Unbound's library, which by itself knows that
	// nothing is below test and no server on loopback.
	resolverConf = `server:
  do-not-query-localhost: no
  local-zone: "test." nodefault
forward-zone:
  name: "."
  forward-addr: 127.0.0.10
`
)

// filter starts what Postfix hands its mail to.
func (p *postfix) filter() (err error) {
	l, err := p.b.letters()
	if err != nil {
		return err
	}
	if p.names, err = openNames(l.zone); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"aliases": signedTo + " r@remote.test\n", "policyd-spf.conf": policydConf, "resolver.conf": resolverConf,
		"opendkim.conf": fmt.Sprintf(openDKIMConf, p.dir), "resolv.conf": "nameserver 127.0.0.10\n",
	} {
		if err := os.WriteFile(p.in(name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := command("openssl", "genrsa", "-out", p.in("dkim.pem"), "2048"); err != nil {
		return err
	}
	// The mounts are our own: see bench/run.
	if err := command("mount", "--bind", p.in("resolv.conf"), "/etc/resolv.conf"); err != nil {
		return err
	}
	p.openDKIM = exec.Command("opendkim", "-f", "-x", p.in("opendkim.conf"))
	p.openDKIM.Stderr = os.Stderr
	if err := p.openDKIM.Start(); err != nil {
		return err
	}
	return await("OpenDKIM", func() bool {
		_, err := os.Stat(p.in("opendkim.sock"))
		return err == nil
	})
}

// unfilter stops it.
func (p *postfix) unfilter() error {
	p.names.close()
	if p.openDKIM == nil {
		return nil
	}
	return errors.Join(end(p.openDKIM, syscall.SIGTERM), command("umount", "/etc/resolv.conf"))
}
