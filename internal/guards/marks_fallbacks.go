package main

func init() {
	marks = append(marks, []mark{
		{"I4-fresh-read-is-given-nothing-found", "sub o.Fresh => false", "TestI4AFreshReadIsNotGivenAStale"},
		{"I4-fresh-fallback-asks-delta", "sub o.Fresh => false", "TestI4AFreshReadIsNotGivenAStale"},
		{"paused-call-without-value-loads", "sub !c.canServe(&f.Out) => false", "TestAValueThatChanges"},
		{"I2-fallback-of-lost-connection", "operand 2", "TestI2NoFallbackIsOlder"},
		{"I2-fallback-of-lost-server", "operand 3", "./tier/internal/inflight TestI2NoFallback"},
	}...)
}
