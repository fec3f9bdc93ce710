// Package unit writes the systemd units that run the server as an ordinary user
// who may do nothing but that. It belongs to daemon.
package unit

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"gatepost/internal/config"
	"gatepost/internal/daemon/settings"
)

// StateDir is where the unit's user has a directory that systemd makes.
const StateDir = "/var/lib/gatepost"

// service is what systemd runs. It is told what it may do; all else is taken away.
// What systemd 252 does not know it skips with a warning.
var service = template.Must(template.New("unit").Parse(`[Unit]
Description=Gatepost mail server
Documentation=man:gatepost(1)
Wants=network-online.target
After=network-online.target
{{- if .Sockets}}
Requires={{.Sockets}}
After={{.Sockets}}
{{- end}}

[Service]
Type=notify
ExecStart={{.Binary}} serve --config {{.Config}}
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=2
TimeoutStopSec={{.Stop}}
LimitNOFILE=65536
LimitCORE=0

User={{.User}}
UMask=0077
{{- if eq .Data .State}}
StateDirectory=gatepost
StateDirectoryMode=0700
{{- else}}
ReadWritePaths={{.Data}}
{{- end}}
{{- if .Ports}}
# for ports below 1024
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
{{- else}}
CapabilityBoundingSet=
PrivateUsers=yes
{{- end}}

NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome={{.Home}}
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service @sandbox
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
`))

// socket is a socket that systemd opens.
var socket = template.Must(template.New("socket").Parse(`[Unit]
Description=Gatepost mail server, {{.Name}}

[Socket]
ListenStream={{.Port}}
FileDescriptorName={{.Name}}
Service=gatepost.service
BindIPv6Only=both
Backlog=1024
NoDelay=yes

[Install]
WantedBy=sockets.target
`))

// File is one file for systemd.
type File struct{ Name, Text string }

// usualPorts are where everybody looks for a door.
var usualPorts = map[string]int{"mx": 25, "submission": 587, "submissions": 465, "imaps": 993, "imap": 143, "https": 443, "http": 80}

// Files returns the units of a configuration: the service, and a socket for each
// door that systemd is to open.
func Files(cfg *config.Config, binary, user string) ([]File, error) {
	sockets, ports := socketNames(cfg)
	var names []string
	for _, s := range sockets {
		names = append(names, "gatepost-"+s.Name+".socket")
	}
	file, err := filepath.Abs(cfg.File())
	if err != nil {
		return nil, err
	}
	data, err := filepath.Abs(cfg.DataDir())
	if err != nil {
		return nil, err
	}
	for _, s := range []string{binary, user, file, data} {
		// systemd would take these for something of its own.
		if strings.ContainsAny(s, " \t\r\n\"'\\%$;") {
			return nil, fmt.Errorf("%q cannot stand in a unit; use a name without spaces, quotes, %%, $, ; and \\", s)
		}
	}
	home := "yes"
	if inHome(binary) || inHome(file) || inHome(data) {
		home = "read-only"
	}
	files := []File{{Name: "gatepost.service"}}
	files[0].Text, err = fill(service, map[string]any{
		"Binary": binary, "Config": file, "Data": data, "State": StateDir, "User": user, "Home": home,
		"Stop": int((time.Duration(cfg.Limits.Drain) + 10*time.Second).Seconds()), "Ports": ports, "Sockets": strings.Join(names, " "),
	})
	for i, s := range sockets {
		text, err := fill(socket, s)
		if err != nil {
			return nil, err
		}
		files = append(files, File{names[i], text})
	}
	return files, err
}

// socketUnit is what socket needs.
type socketUnit struct {
	Name string
	Port int
}

// socketNames returns the sockets that systemd is to open, and whether the
// server opens others itself that an ordinary user may not.
func socketNames(cfg *config.Config) (list []socketUnit, privileged bool) {
	for _, door := range []struct {
		key       string
		addresses []string
	}{
		{"mx", cfg.Listen.MX}, {"submission", cfg.Listen.Submission}, {"submissions", cfg.Listen.Submissions},
		{"imaps", cfg.Listen.IMAPS}, {"imap", cfg.Listen.IMAP}, {"https", cfg.Listen.HTTPS}, {"http", cfg.Listen.HTTP}, {"metrics", cfg.Listen.Metrics},
	} {
		for _, address := range door.addresses {
			if name, ok := strings.CutPrefix(address, "systemd:"); ok {
				list = append(list, socketUnit{name, usualPorts[door.key]})
			} else if p := settings.Port([]string{address}); p > 0 && p < 1024 {
				privileged = true
			}
		}
	}
	return list, privileged
}

func inHome(path string) bool {
	return strings.HasPrefix(path, "/home/") || strings.HasPrefix(path, "/root/")
}

func fill(t *template.Template, v any) (string, error) {
	var b bytes.Buffer
	err := t.Execute(&b, v)
	return b.String(), err
}
