package valkeytest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// startBound starts cmd such that it cannot outlive this process; release is called when cmd has ended.
var startBound = startWithDeathSignal

// startWithDeathSignal has the kernel kill cmd when the thread that starts it ends.
func startWithDeathSignal(cmd *exec.Cmd) (release func(), err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return func() {}, cmd.Start()
}

// stopped reports whether a SIGSTOP sent to the process has taken effect.
func stopped(pid int) (bool, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false, err
	}
	// "pid (name) state …", and the name may contain anything.
	rest := stat[bytes.LastIndexByte(stat, ')')+1:]
	return bytes.HasPrefix(rest, []byte(" T")), nil
}
