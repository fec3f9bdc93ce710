package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// What Postfix needs to do with mail what Gatepost does by itself: policyd-spf
// looks at the client; one OpenDKIM verifies mail from the world and signs that
// of relayed clients, another one signs what is forwarded, where Gatepost seals
// it. They are as Debian sets them up, but that loopback is not spared.
const (
	filteredCF = `mynetworks = ` + relayFrom + `/32
smtpd_milters = unix:%[1]s/opendkim.sock
milter_default_action = tempfail
smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination, check_policy_service unix:private/policyd-spf
policyd-spf_time_limit = 3600
virtual_alias_maps = texthash:%[1]s/aliases
`
	forwardedCF = `smtpd_milters = unix:%[1]s/opendkim.sock unix:%[1]s/forwarder.sock
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
	openDKIMConf = `UMask 000
Background no
RequireSafeKeys no
Canonicalization relaxed/simple
OversignHeaders From
Nameservers 127.0.0.10
`
	verifierConf = openDKIMConf + `Socket local:%[1]s/opendkim.sock
Mode sv
Domain local.test
Selector s
KeyFile %[1]s/dkim.pem
InternalHosts ` + relayFrom + `
`
	forwarderConf = openDKIMConf + `Socket local:%[1]s/forwarder.sock
Mode s
KeyTable %[1]s/keytable
SigningTable refile:%[1]s/signingtable
InternalHosts 0.0.0.0/0
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
		"aliases": signedTo + " r@remote.test\n", "policyd-spf.conf": policydConf, "resolv.conf": "nameserver 127.0.0.10\n",
		"keytable": "s local.test:s:" + p.in("dkim.pem") + "\n", "signingtable": "* s\n",
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
	if err := p.openDKIM("opendkim", verifierConf); err != nil || !p.needs.forwards {
		return err
	}
	return p.openDKIM("forwarder", forwarderConf)
}

// openDKIM starts one OpenDKIM.
func (p *postfix) openDKIM(name, conf string) error {
	if err := os.WriteFile(p.in(name+".conf"), fmt.Appendf(nil, conf, p.dir), 0o644); err != nil {
		return err
	}
	cmd := exec.Command("opendkim", "-f", "-x", p.in(name+".conf"))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	p.filters = append(p.filters, cmd)
	return await("OpenDKIM", func() bool {
		_, err := os.Stat(p.in(name + ".sock"))
		return err == nil
	})
}

// unfilter stops it.
func (p *postfix) unfilter() (err error) {
	p.names.close()
	for _, cmd := range p.filters {
		err = errors.Join(err, end(cmd, syscall.SIGTERM))
	}
	if len(p.filters) > 0 {
		err = errors.Join(err, command("umount", "/etc/resolv.conf"))
	}
	return err
}
