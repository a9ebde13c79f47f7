package valkeytest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// SteppedClock gives the server a wall clock of its own, which [Server.StepClock] sets while it runs. Its monotonic clock
// is left alone, as it is when a machine's clock is set. See [CanStepClock] for where that works.
func SteppedClock() Option { return func(s *Server) { s.stepped = true } }

// StepClock sets the server's wall clock to d ahead of the real one, or behind it.
func (s *Server) StepClock(d time.Duration) {
	s.tb.Helper()
	if !s.stepped {
		s.tb.Fatal("valkeytest: StepClock needs a server that was started with SteppedClock")
	}
	if err := s.writeClock(d); err != nil {
		s.tb.Fatalf("valkeytest: step clock: %v", err)
	}
	// A server may answer what it has read already by the time that it took before. What it reads after this it does not.
	if c, err := s.connect(); err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second) // it may be paused
		defer cancel()
		_ = c.Do(ctx, c.B().Ping().Build()).Error()
		c.Close()
	}
}

// CanStepClock returns why SteppedClock is not to be had here: it takes 64-bit Linux and a C compiler.
func CanStepClock() error {
	if runtime.GOOS != "linux" || strconv.IntSize != 64 {
		return errors.New("a clock that can be stepped needs 64-bit Linux")
	}
	if _, err := exec.LookPath("cc"); err != nil {
		return fmt.Errorf("a clock that can be stepped needs a C compiler: %w", err)
	}
	return nil
}

// NeedSteppedClock skips the test where SteppedClock is not to be had, and says so where it is seen. In CI it fails,
// except on 32 bits: what the race detector needs is enough for this too.
func NeedSteppedClock(t testing.TB) {
	t.Helper()
	err := CanStepClock()
	switch {
	case err == nil:
	case os.Getenv("CI") != "" && strconv.IntSize == 64:
		t.Fatal(err)
	default:
		announce(fmt.Sprintf("SKIPPED %s: %v", t.Name(), err))
		t.Skipf("SKIPPED: %v", err)
	}
}

// clockSource is preloaded into the server. It asks the kernel, and adds to the wall clock what the file in
// VALKEYTEST_CLOCK says, in nanoseconds. It allocates nothing and looks nothing up, so it can be called at any time: the
// server's allocator reads the clock before anything else is ready, of which libfaketime 0.9.10 dies.
const clockSource = `
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct wall { long sec, usec; };

static volatile int64_t *ahead;

__attribute__((constructor)) static void map(void) {
	const char *path = getenv("VALKEYTEST_CLOCK");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0) return;
	void *p = mmap(0, sizeof *ahead, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (p != MAP_FAILED) ahead = p;
}

int clock_gettime(clockid_t id, struct timespec *t) {
	int r = syscall(SYS_clock_gettime, id, t);
	if (r == 0 && ahead && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
		int64_t ns = t->tv_nsec + *ahead;
		t->tv_sec += ns / 1000000000;
		if ((t->tv_nsec = ns % 1000000000) < 0) t->tv_nsec += 1000000000, t->tv_sec--;
	}
	return r;
}

int gettimeofday(struct wall *w, void *zone) {
	struct timespec t;
	int r = clock_gettime(CLOCK_REALTIME, &t);
	if (w) w->sec = t.tv_sec, w->usec = t.tv_nsec / 1000;
	return r;
}

time_t time(time_t *to) {
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	if (to) *to = t.tv_sec;
	return t.tv_sec;
}
`

func (s *Server) clockPath() string { return s.path("clock") }

// writeClock changes the file in place: the server has mapped it.
func (s *Server) writeClock(d time.Duration) error {
	f, err := os.OpenFile(s.clockPath(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(d)), 0)
	return err
}

// environment of the server's process; nil is our own.
func (s *Server) environment() ([]string, error) {
	if !s.stepped {
		return nil, nil
	}
	library := s.path("clock.so")
	if _, err := os.Stat(library); err != nil { // else it is a Restart, and the clock stays as it is
		if err := compile(clockSource, library); err != nil {
			return nil, err
		}
		if err := s.writeClock(0); err != nil {
			return nil, err
		}
	}
	return append(os.Environ(), "LD_PRELOAD="+library, "VALKEYTEST_CLOCK="+s.clockPath()), nil
}

// compile makes a shared library of C source.
func compile(source, library string) error {
	cmd := exec.Command("cc", "-shared", "-fPIC", "-O2", "-x", "c", "-o", library, "-")
	cmd.Stdin = strings.NewReader(source)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("valkeytest: %v: %w\n%s", cmd.Args, err, out)
	}
	return nil
}
