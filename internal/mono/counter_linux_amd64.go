//go:build gc && !purego

package mono

import (
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// counter is the processor's time stamp counter (RDTSC). It is read without waiting for
// earlier instructions, above all for loads from memory.
//
//go:noescape
func counter() uint64

// cpuid is the instruction that describes the processor.
//
//go:noescape
func cpuid(leaf uint32) (eax, ebx, ecx, edx uint32)

// counterIsTrusted reports whether the counter counts at one rate whatever the processor
// does, and is the same on all processors. The kernel uses it as its clock only then.
//
// With kvm-clock that holds only if processes read the time without a system call, as they
// do while the hypervisor guarantees it (PVCLOCK_TSC_STABLE_BIT, which is checked for each
// such reading: arch/x86/include/asm/vdso/gettimeofday.h). A hypervisor does not offer an
// invariant counter to a guest that it may move to a machine with another rate.
var counterIsTrusted = sync.OnceValue(func() bool {
	const path = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
	source, err := os.ReadFile(path)
	return err == nil && isInvariant() && readsTimeItself() &&
		slices.Contains([]string{"tsc", "kvm-clock", "hyperv_clocksource_tsc_page"}, strings.TrimSpace(string(source)))
})

// readsTimeItself reports whether the time is read without a system call: in much less time
// than a system call takes.
func readsTimeItself() bool {
	shortest := func(f func()) uint64 {
		least := uint64(off)
		for range 64 {
			before := counter()
			f()
			least = min(least, counter()-before)
		}
		return least
	}
	return 3*shortest(func() { Now() }) < 2*shortest(func() { syscall.Getppid() })
}

// isInvariant reads the bit "TscInvariant": AMD64 Architecture Programmer's Manual,
// volume 3, appendix E.4.6; Intel has the same.
func isInvariant() bool {
	const extended, power = 0x8000_0000, 0x8000_0007
	if most, _, _, _ := cpuid(extended); most < power {
		return false
	}
	_, _, _, edx := cpuid(power)
	return edx&(1<<8) != 0
}

// inBubble reports whether time is that of a testing/synctest bubble, which begins with the
// year 2000, whatever the system's clock shows.
func inBubble() bool {
	var system syscall.Timeval
	if syscall.Gettimeofday(&system) != nil {
		return true
	}
	return time.Since(time.Unix(system.Unix())).Abs() > time.Hour
}
