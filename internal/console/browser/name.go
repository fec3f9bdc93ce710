package browser

import "strings"

// Name makes of what a browser calls itself what people call it. It is
// a stranger's word either way.
func Name(agent string) string {
	name, system := "", ""
	for _, n := range [][2]string{{"Firefox/", "Firefox"}, {"Edg/", "Edge"}, {"OPR/", "Opera"}, {"HeadlessChrome/", "Chrome"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"}, {"curl/", "curl"}} {
		if strings.Contains(agent, n[0]) {
			name = n[1]
			break
		}
	}
	for _, n := range [][2]string{{"Android", "Android"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Windows", "Windows"}, {"Mac OS", "macOS"}, {"Linux", "Linux"}} {
		if strings.Contains(agent, n[0]) {
			system = n[1]
			break
		}
	}
	switch {
	case name != "" && system != "":
		return name + " on " + system
	case name+system != "":
		return name + system
	case agent != "":
		return agent
	}
	return "Unknown browser"
}
