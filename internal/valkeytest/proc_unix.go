//go:build unix

package valkeytest

import (
	"errors"
	"io"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

func (p *process) terminate() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
func (p *process) resume() error    { return p.cmd.Process.Signal(syscall.SIGCONT) }

func (p *process) pause() error {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for deadline := time.Now().Add(readyTimeout); ; time.Sleep(pollInterval) {
		if ok, err := stopped(p.cmd.Process.Pid); ok || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return errors.New("the server did not stop")
		}
	}
}

// startWatched starts cmd and a watchdog beside it: a shell that waits for its standard input to end, which happens
// when this process is gone, however it went, and then kills cmd. It is the portable form of Linux's parent-death
// signal.
func startWatched(cmd *exec.Cmd) (release func(), err error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	dog := exec.Command("/bin/sh", "-c", `trap "" INT TERM; read -r _; kill -9 "$0"`, strconv.Itoa(cmd.Process.Pid))
	var life io.Closer
	if life, err = dog.StdinPipe(); err == nil {
		err = dog.Start()
	}
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return nil, err
	}
	return func() {
		dog.Process.Kill() // first, or it would take the closed pipe for our end
		dog.Wait()
		life.Close()
	}, nil
}
