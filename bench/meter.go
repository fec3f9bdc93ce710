package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// machine describes where this is measured.
func machine() string {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d × %s, %s, %s", runtime.NumCPU(), model, runtime.Version(), time.Now().UTC().Format(time.DateOnly))
}

// tick is the unit of times in /proc/PID/stat: USER_HZ is 100 on Linux.
const tick = 10 * time.Millisecond

// process is one line of /proc.
type process struct {
	pid, parent int
	cpu         time.Duration // its own and that of children it has waited for
}

func readProcess(pid int) (process, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, err
	}
	// The name, in parentheses, may hold anything.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 15 {
		return process{}, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	p := process{pid: pid}
	p.parent, err = strconv.Atoi(fields[1])
	for _, f := range fields[11:15] {
		n, e := strconv.Atoi(f)
		if e != nil {
			err = e
		}
		p.cpu += time.Duration(n) * tick
	}
	return p, err
}

// family returns a process and all that descend from it.
func family(root int) []process {
	children := map[int][]process{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		pid, err := strconv.Atoi(filepath.Base(d))
		if err != nil {
			continue
		}
		if p, err := readProcess(pid); err == nil {
			children[p.parent] = append(children[p.parent], p)
		}
	}
	p, err := readProcess(root)
	if err != nil {
		return nil
	}
	list := []process{p}
	for i := 0; i < len(list); i++ {
		list = append(list, children[list[i].pid]...)
	}
	return list
}

// cpu returns the processor time that a family of processes has used, those
// included that have ended and were waited for.
func cpu(root int) (sum time.Duration) {
	for _, p := range family(root) {
		sum += p.cpu
	}
	return sum
}

// memory returns a line of a family's memory in KiB: "Pss" of smaps_rollup,
// or "VmHWM" of status, the most that was ever resident.
func memory(root int, what string) (sum int) {
	file := "status"
	if what == "Pss" {
		file = "smaps_rollup"
	}
	for _, p := range family(root) {
		f, err := os.Open(fmt.Sprintf("/proc/%d/%s", p.pid, file))
		if err != nil {
			continue
		}
		for s := bufio.NewScanner(f); s.Scan(); {
			if fields := strings.Fields(s.Text()); len(fields) > 1 && fields[0] == what+":" {
				n, _ := strconv.Atoi(fields[1])
				sum += n
				break
			}
		}
		f.Close()
	}
	return sum
}
