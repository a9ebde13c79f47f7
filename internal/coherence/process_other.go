//go:build !linux

package coherence

import "errors"

// Members in processes of their own need a clock that all processes share, which
// is implemented for Linux; elsewhere the package only has to build.
var errNoProcesses = errors.New("coherence: members in other processes need Linux")

func Share(string) (*Board, func(), error) { return nil, nil, errNoProcesses }
func Serve()                               {}

type Process struct{}

func Spawn(Config, string) (*Process, error) { return nil, errNoProcesses }

func SpawnOf(string, Config, string) (*Process, error) { return nil, errNoProcesses }

func (*Process) Pause() error            { return errNoProcesses }
func (*Process) Resume() error           { return errNoProcesses }
func (*Process) Kill()                   {}
func (*Process) Report() (Report, error) { return Report{}, errNoProcesses }
