package main

// What tracers and observers do, and figures.
func init() {
	marks = append(marks,
		mark{"tracer-panic-in-start", "false", "TestAPanicOfATracer"},
		mark{"tracer-panic-in-end", "false", "TestAPanicOfATracer"},
		mark{"reader-does-not-run-tracer", "sub c.aside(func() { c.t.End(s.ctx, out) }) => c.t.End(s.ctx, out)", "TestASlowTracer"},
		mark{"observer-runs-aside", "sub s.events.Add(func() { s.observe(e) }) => s.observe(e)", "TestAnObserverMayRead"},
		mark{"bounded-queue", "false", "./tier/internal/background TestAQueueIsBounded"},
		mark{"queue-goes-on-after-goexit", "false", "./tier/internal/background TestAQueueGoesOn"},
		mark{"loss-is-logged", "false", "TestALossOfHistory"},
		mark{"loss-is-told", "false", "TestALossOfHistory"},
		mark{"lag-of-message", "drop", "TestTheLagOf"},
		mark{"lag-of-delta", "false", "TestTheLagOf"},
		mark{"own-deadline-is-not-callers", "sub target != context.DeadlineExceeded && => ", "TestAnErrorOfTheRemoteTier"},
		mark{"memory-is-full", "false", "TestHealthSaysThatMemory"},
		mark{"full-before-refusing", "false", "./internal/backend TestAServerThatRefuses"},
		mark{"away-server-has-keys", "drop", "./tier/internal/breaker TestTheServersThatAreAway"},
	)
}
