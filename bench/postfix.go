package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// postfix is Debian's Postfix from a directory of its own, as it comes but
// for what one client that sends like thousands needs. Dovecot checks its
// passwords.
type postfix struct {
	place
	needs   needs
	dovecot *exec.Cmd

	filters []*exec.Cmd // OpenDKIM, where it verifies and signs
}

func newPostfix(b *bench, n needs) server { return &postfix{place: place{b: b}, needs: n} }

func (p *postfix) name() string          { return "postfix" }
func (p *postfix) at(port int) string    { return fmt.Sprintf("127.0.0.3:%d", port) }
func (p *postfix) in(name string) string { return filepath.Join(p.dir, name) }
func (p *postfix) boxes() string         { return p.in("mail") }

const mainCF = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file_prefixes = %[1]s
maillog_file = %[1]s/log
myhostname = mx.bench.test
mydestination =
local_recipient_maps =
alias_maps =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.3
inet_protocols = ipv4
relayhost = [127.0.0.9]:2600
smtp_bind_address = 127.0.0.3
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
message_size_limit = 0
mailbox_size_limit = 0
virtual_mailbox_limit = 0
default_process_limit = 150
virtual_mailbox_domains = local.test
virtual_mailbox_base = %[1]s/mail
virtual_mailbox_maps = texthash:%[1]s/boxes
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_minimum_uid = 1
smtpd_tls_security_level = may
smtpd_tls_cert_file = %[1]s/cert.pem
smtpd_tls_key_file = %[1]s/key.pem
smtpd_tls_session_cache_database = btree:%[1]s/data/smtpd_scache
smtp_tls_security_level = may
smtpd_sasl_type = dovecot
smtpd_sasl_path = %[1]s/auth
`

const masterCF = `smtp inet n - n - - smtpd
submission inet n - n - - smtpd -o smtpd_sasl_auth_enable=yes
submissions inet n - n - - smtpd -o smtpd_tls_wrappermode=yes -o smtpd_sasl_auth_enable=yes
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`

// dovecotConf has Dovecot remember what it has verified, as Gatepost does.
const dovecotConf = `base_dir = %[1]s/dovecot
log_path = %[1]s/dovecot.log
protocols =
ssl = no
default_internal_user = dovecot
default_login_user = dovenull
auth_mechanisms = plain
auth_cache_size = 16M
auth_cache_ttl = 5 mins
service auth {
  unix_listener %[1]s/auth {
    mode = 0666
  }
}
passdb {
  driver = passwd-file
  args = scheme=SHA512-CRYPT %[1]s/users
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=%[1]s/mail
}
`

func (p *postfix) start() error {
	if err := p.make("postfix"); err != nil {
		return err
	}
	if err := p.install(); err != nil {
		return err
	}
	if p.needs.signed {
		if err := p.filter(); err != nil {
			return err
		}
	}
	p.dovecot = exec.Command("dovecot", "-F", "-c", p.in("dovecot.conf"))
	if err := p.dovecot.Start(); err != nil {
		return err
	}
	// postfix(1) prepares the queue; master stays in our family.
	if err := command("postfix", "-c", p.dir, "check"); err != nil {
		return err
	}
	p.cmd = exec.Command("/usr/lib/postfix/sbin/master", "-c", p.dir, "-d")
	p.cmd.Env = append(os.Environ(), "MAIL_CONFIG="+p.dir)
	if err := p.cmd.Start(); err != nil {
		return err
	}
	return await("postfix", func() bool { return answers(p.at(25)) && answers(p.at(465)) })
}

func (p *postfix) install() error {
	var boxes, users strings.Builder
	hash, err := exec.Command("doveadm", "pw", "-s", "SHA512-CRYPT", "-p", password).Output()
	if err != nil {
		return err
	}
	for n := range p.needs.accounts {
		fmt.Fprintf(&boxes, "%s user%d/\n", account(n), n)
		fmt.Fprintf(&users, "%s:%s\n", account(n), strings.TrimPrefix(strings.TrimSpace(string(hash)), "{SHA512-CRYPT}"))
	}
	main, master := mainCF, masterCF
	if p.needs.signed {
		main = strings.Replace(main, "mynetworks = 127.0.0.0/8\n", filteredCF, 1)
		master += fmt.Sprintf(policydMaster, p.dir)
	}
	if p.needs.forwards {
		main += forwardedCF
	}
	for name, text := range map[string]string{
		"main.cf": fmt.Sprintf(main, p.dir), "master.cf": master, "boxes": boxes.String(), "users": users.String(),
		"dovecot.conf": fmt.Sprintf(dovecotConf, p.dir), "log": "",
	} {
		if err := os.WriteFile(p.in(name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for _, dir := range []string{"queue", "data", "mail"} {
		if err := os.Mkdir(p.in(dir), 0o755); err != nil {
			return err
		}
	}
	if err := command("chown", "nobody", p.boxes()); err != nil {
		return err
	}
	if err := command("chown", "postfix", p.in("data")); err != nil {
		return err
	}
	return command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
		"-keyout", p.in("key.pem"), "-out", p.in("cert.pem"), "-subj", "/CN=mx.bench.test", "-days", "2")
}

func (p *postfix) stop() error {
	defer p.remove()
	end(p.dovecot, syscall.SIGTERM)
	if p.cmd != nil {
		end(p.cmd, syscall.SIGTERM) // master ends with the signal
	}
	return p.unfilter()
}

func (p *postfix) delivered() (int, error) {
	boxes, err := os.ReadDir(p.boxes())
	sum := 0
	for _, box := range boxes {
		if list, e := os.ReadDir(filepath.Join(p.boxes(), box.Name(), "new")); e == nil {
			sum += len(list)
		}
	}
	return sum, err
}
