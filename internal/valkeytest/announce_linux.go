package valkeytest

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// beyondGoTest opens the standard error of the go command that runs this test binary; nil if there is none, or it is
// our own, or it cannot be had.
func beyondGoTest() *os.File {
	parent := os.Getppid()
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", parent))
	if err != nil || strings.TrimSpace(string(name)) != "go" {
		return nil
	}
	f := descriptorOf(parent, 2)
	if f == nil {
		return nil
	}
	theirs, err1 := f.Stat()
	ours, err2 := os.Stderr.Stat()
	if err1 != nil || err2 != nil || os.SameFile(ours, theirs) {
		f.Close()
		return nil
	}
	return f
}

// descriptorOf returns another process's file. The best is a duplicate of the descriptor, which not every system
// allows. Opening the file again will do as well for a pipe or a terminal, but not for a regular file, which two writers
// with a position each would garble.
func descriptorOf(pid int, fd uintptr) *os.File {
	const pidfdOpen, pidfdGetfd = 434, 438 // system calls; the same numbers on every architecture that Go supports
	if p, _, errno := syscall.Syscall(pidfdOpen, uintptr(pid), 0, 0); errno == 0 {
		defer syscall.Close(int(p))
		if dup, _, errno := syscall.Syscall(pidfdGetfd, p, fd, 0); errno == 0 {
			return os.NewFile(dup, "stderr of go")
		}
	}
	path := fmt.Sprintf("/proc/%d/fd/%d", pid, fd)
	if info, err := os.Stat(path); err != nil || info.Mode().IsRegular() {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return nil
	}
	return f
}
