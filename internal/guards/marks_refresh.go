package main

func init() {
	marks = append(marks, []mark{
		{"failure-in-pause-keeps-it", "false", "./tier/internal/pace TestAFailureDuring"},
		{"stale-value-in-pause", "operand 2-3", "TestAFailingSource"},
		{"no-refresh-in-pause", "sub renewing && !paused => renewing", "TestAReadDuringAPause"},
		{"no-refresh-in-pause-of-remote-value", "sub late && !paused => late && (!paused || paused)", "TestAReadDuringAPause"},
		{"older-value-ends-no-pause", "operand 2", "TestAnEarlyRefreshThatFailsKeeps"},
		{"no-early-refresh-in-pause", "and false", "TestAnEarlyRefreshThatFailsKeeps"},
		{"rights-before-leases", "drop", "TestThePauseOfAnotherProcess"},
		{"rights-before-leases-of-abandoned-load", "drop", "TestThePauseOfAnotherProcess"},
		{"stale-value-of-batch-needs-no-place", "drop", "TestAStaleValueNeedsNoPlace"},
		{"one-request-one-error", "sub c.countReadError(ctx, err) => for range fs { c.countReadError(ctx, err) }", "TestOneFailedRequest"},
		{"bounded-refreshes", "false", "TestRefreshesInTheBackgroundAreBounded"},
		{"abandoned-load-is-no-failure", "operand 1", "TestNotFoundAndGivenUp"},
		{"refresh-shares-later-load", "and false", "TestRefreshesAtOnce"},
		{"I10-read-beside-waits-for-fill", "false", "TestI10ARenewal"},
		{"R10-found-older-than-change", "false", "TestR10AStaleValueFound"},
		{"pause-of-another-view", "true", "TestARememberedErrorIsNot"},
		{"I10-unstored-leaves-no-copy", "drop", "TestI10WhatIsNotStored"},
		{"answer-before-end-of-context", "false", "TestAnAnswerComesBefore"},
		{"refused-fallback-is-read", "sub c.readFallback(ctx, f, o) => it", "TestASoftTimeoutIsThatOfACallerThatMayNotShare"},
		{"wake-between-sleeps", "false", "./tier/internal/inflight TestACallThatIsWoken"},
	}...)
}
