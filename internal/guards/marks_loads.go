package main

func init() {
	marks = append(marks, []mark{
		{"bounded-queue-of-loads", "operand 2", "TestLoadsAreBounded"},
		{"renewals-take-free-places", "operand 1", "TestRenewalsTake"},
		{"nested-load-uses-place-of-parent", "false", "./tier/internal/loads TestAPlaceIsFree"},
		{"queued-load-shares-place", "false", "TestANestedLoad"},
		{"place-before-lease", "sub l.takeRights(l.take(l.takePlace(fs))) => l.takePlace(l.takeRights(l.take(fs)))", "TestALoadThatWaitsForAPlace"},
		{"loads-that-wait-for-each-other", "false", "TestLoadersThatWait"},
		{"bounded-stuck-loaders", "false", "TestThereAreFewStuck"},
		{"refused-load-is-no-failure", "operand 7", "TestLoadersThatWait"},
		{"detached-load-goes-on", "false", "TestADetachedLoadFills"},
		{"overdue-load-answers-its-callers", "and false", "TestALoaderThatDoesNotReturn"},
		{"given-up-load-frees-its-keys", "drop", "TestALoaderThatDoesNotReturn"},
		{"place-of-loader-that-goes-on", "drop", "TestALoaderThatGoesOn"},
		{"unstored-renewal-leaves-value", "operand 1", "TestARenewalThatStores"},
		{"own-error-beside-not-found", "drop", "TestALoadersErrorComes"},
		{"pause-of-another-process", "sub rights[i].Err == nil => rights[i].Err != nil", "TestASourceThatFails"},
		{"pause-of-another-process-is-of-stale-values", "operand 2", "TestAPauseOfAnotherProcessIsNoError"},
		{"batch-reads-beside-renewals", "false", "TestARenewalHoldsUpNoBatch"},
		{"early-enough-for-load", "sub max(1-lead/float64(ttl), leastShare) => 1+0*lead", "./tier/internal/pace TestAnEntryIsRenewed"},
	}...)
}
