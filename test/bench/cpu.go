package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of the times in /proc: USER_HZ, 100 on every current Linux.
const tick = 10 * time.Millisecond

// proc is what /proc/PID/stat says.
type proc struct {
	parent int
	cpu    time.Duration // of the process and its children that have ended
}

// cpuOf returns the CPU time of each process, with all of its children.
func cpuOf(roots map[string]int) (map[string]time.Duration, error) {
	procs, err := readProcs()
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for pid, p := range procs {
		children[p.parent] = append(children[p.parent], pid)
	}
	var sum func(pid int) time.Duration
	sum = func(pid int) time.Duration {
		total := procs[pid].cpu
		for _, c := range children[pid] {
			total += sum(c)
		}
		return total
	}
	out := map[string]time.Duration{}
	for name, pid := range roots {
		if _, ok := procs[pid]; !ok {
			return nil, fmt.Errorf("%s (process %d) has ended", name, pid)
		}
		out[name] = sum(pid)
	}
	return out, nil
}

func readProcs() (map[int]proc, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	out := map[int]proc{}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue // the process has ended
		}
		pid, err := strconv.Atoi(strings.Split(path, "/")[2])
		if err != nil {
			return nil, err
		}
		if out[pid], err = parseStat(raw); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return out, nil
}

// parseStat reads stat as of proc(5). The process name in it may contain any character.
func parseStat(raw []byte) (proc, error) {
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	if len(fields) < 15 {
		return proc{}, fmt.Errorf("%d fields", len(fields))
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return proc{}, err
	}
	p := proc{parent: parent}
	for _, f := range fields[11:15] { // utime, stime, cutime, cstime
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return proc{}, err
		}
		p.cpu += time.Duration(n) * tick
	}
	return p, nil
}

// driverCPU returns the CPU time of this process.
func driverCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // fails for a bad pointer only
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// residentBytes returns the memory that a process holds, in bytes.
func residentBytes(pid int) (float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(raw), "VmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0, fmt.Errorf("process %d has no VmRSS", pid)
	}
	kib, err := strconv.ParseFloat(fields[0], 64)
	return kib * 1024, err
}

// processor returns the machine's model name and how many cores this process may use.
func processor() (model string) {
	raw, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(raw), "model name")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.Trim(line, "\t: ")
}
