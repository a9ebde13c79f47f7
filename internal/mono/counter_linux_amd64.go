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
// what was begun before: memory that is on its way, above all.
//
//go:noescape
func counter() uint64

// cpuid is what the processor says of itself.
//
//go:noescape
func cpuid(leaf uint32) (eax, ebx, ecx, edx uint32)

// counterIsTrusted reports whether the counter counts at one rate whatever the processor
// does, and is the same on all processors, as the kernel says by telling the time by it.
//
// With kvm-clock that says something only if processes read the time themselves, as they do while
// the hypervisor gives its word for it (PVCLOCK_TSC_STABLE_BIT, which each such reading
// looks at: arch/x86/include/asm/vdso/gettimeofday.h). A hypervisor does not offer an
// invariant counter to a guest that it would move to where that goes at another rate.
var counterIsTrusted = sync.OnceValue(func() bool {
	const path = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
	source, err := os.ReadFile(path)
	return err == nil && isInvariant() && readsTimeItself() &&
		slices.Contains([]string{"tsc", "kvm-clock", "hyperv_clocksource_tsc_page"}, strings.TrimSpace(string(source)))
})

// readsTimeItself reports whether the time is told without asking the kernel: in much
// less than it takes to ask it anything.
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

// inBubble reports whether time is that of a testing/synctest bubble: it begins with the
// year 2000, whatever the system says.
func inBubble() bool {
	var system syscall.Timeval
	if syscall.Gettimeofday(&system) != nil {
		return true
	}
	return time.Since(time.Unix(system.Unix())).Abs() > time.Hour
}
