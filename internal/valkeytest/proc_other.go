//go:build !unix

package valkeytest

import (
	"errors"
	"os/exec"
)

// There is no Valkey server for these systems; the package only has to build.

var errNoSignals = errors.New("not possible on this system")

func startBound(cmd *exec.Cmd) (release func(), err error) { return func() {}, cmd.Start() }

func (p *process) terminate() error { return errNoSignals }
func (p *process) pause() error     { return errNoSignals }
func (p *process) resume() error    { return errNoSignals }
