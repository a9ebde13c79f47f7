package coherence

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// Share returns a board in a file that processes map, and what unmaps it. The
// file is made if it does not exist.
func Share(path string) (*Board, func(), error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close() // the mapping stays
	size := int(unsafe.Sizeof(Board{}))
	if err := f.Truncate(int64(size)); err != nil {
		return nil, nil, err
	}
	mem, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, nil, fmt.Errorf("coherence: mmap: %w", err)
	}
	return (*Board)(unsafe.Pointer(&mem[0])), func() { _ = syscall.Munmap(mem) }, nil
}

// In a process started by Spawn, this variable holds the order.
const orderVar = "TIERCACHE_COHERENCE_MEMBER"

type order struct {
	Config Config
	Board  string
}

// Serve plays a member and exits if Spawn started this process; main calls it
// first. Otherwise it does nothing.
func Serve() {
	text := os.Getenv(orderVar)
	if text == "" {
		return
	}
	if err := serve(text); err != nil {
		fmt.Fprintln(os.Stderr, "coherence:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serve(text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	b, _, err := Share(o.Board)
	if err != nil {
		return err
	}
	ctx := context.Background()
	m, err := joinPatiently(ctx, o.Config, b)
	if err != nil {
		return err
	}
	if err := m.Run(ctx); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(m.Report())
}

// joinPatiently tries again while the server is away.
func joinPatiently(ctx context.Context, cfg Config, b *Board) (m *Member, err error) {
	for range 10 {
		if m, err = Join(ctx, cfg, b, nil); err == nil {
			return m, nil
		}
		wait(ctx, 100*time.Millisecond)
	}
	return nil, err
}

// Process is a member in a process of its own. It ends with this one.
type Process struct {
	cmd    *exec.Cmd
	stdout bytes.Buffer
	stderr bytes.Buffer
	done   chan struct{}
	err    error // valid when done is closed
}

// Spawn runs this program again, as a member on the board in that file.
func Spawn(cfg Config, boardFile string) (*Process, error) {
	return SpawnOf(os.Args[0], cfg, boardFile)
}

// SpawnOf is Spawn of another program, which has to have been built with this
// package: what processes share is laid out by it.
func SpawnOf(program string, cfg Config, boardFile string) (*Process, error) {
	text, err := json.Marshal(order{cfg, boardFile})
	if err != nil {
		return nil, err
	}
	p := &Process{cmd: exec.Command(program), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), orderVar+"="+string(text))
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The death signal is sent when the thread that started it ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.done)
		}
	}()
	return p, <-started
}

// Pause stops the process (SIGSTOP), and returns when it stands still.
func (p *Process) Pause() error {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for deadline := time.Now().Add(processPatience); time.Now().Before(deadline); wait(context.Background(), time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
		if err != nil {
			return err
		}
		// "pid (name) state …", and the name may contain anything.
		if bytes.HasPrefix(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" T")) {
			return nil
		}
	}
	return errors.New("coherence: the process did not stop")
}

// Resume ends a Pause.
func (p *Process) Resume() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

// Kill ends the process at once (SIGKILL) and waits for its end.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it has ended
	<-p.done
}

const processPatience = 30 * time.Second

// Report waits for the member to end, which the board must have been asked for,
// and returns what it found.
func (p *Process) Report() (r Report, err error) {
	select {
	case <-p.done:
	case <-time.After(processPatience):
		p.Kill()
		return r, errors.New("coherence: a member's process did not end")
	}
	if p.err != nil {
		return r, fmt.Errorf("coherence: a member's process: %w\n%s", p.err, p.stderr.String())
	}
	return r, json.Unmarshal(p.stdout.Bytes(), &r)
}
