package main

// The guards of what is done with values.
func init() {
	marks = append(marks,
		mark{"value-that-json-changes", "false", "TestAValueThatJSONWouldChangeIsNotStored"},
		mark{"I1-set-of-unencodable-deletes", "sub c.deleteUnencoded(…) => error(nil)", "TestASetOfAValueThatCannotBeEncodedDeletes"},
		mark{"promoted-methods", "true", "./internal/shape TestTypesThatJSONWouldLose"},
		mark{"pointer-to-null", "operand 2", "./internal/shape TestValuesThatJSONWouldChange"},
		mark{"time-with-seconds-in-offset", "false", "./internal/shape TestValuesThatJSONWouldChange"},
		mark{"text-that-is-not-utf8", "false", "./internal/shape TestValuesThatJSONWouldChange"},
		mark{"unmarshal-by-value", "false", "./internal/shape TestTypesThatJSONWouldLose"},
		mark{"omitted-negative-zero", "sub v.IsZero() && hasNegativeZero(v) => false", "./internal/shape TestValuesThatJSONWouldChange"},
		mark{"lossy-value", "false", "./internal/shape TestValuesThatJSONWouldChange"},
		mark{"error-without-the-value", "false", "./tier/internal/values TestAnErrorDoesNotHave"},
		mark{"close-ends-waiting", "sub c.s.Goroutines.Ctx.Done() => nil", "TestCloseEndsWhatWaits"},
		mark{"one-error-for-one-reason", "sub !said[err.Error()] => true", "./tier/internal/core TestErrorsOfOneText"},
		mark{"sizeof-chain", "sub -maxChain => 0", "./internal/sizeof TestChainsAreFollowed"},
		mark{"sizeof-beyond-length", "sub w.elements(v) => w.elements(v.Slice(0, v.Cap()))", "./internal/sizeof TestWhatLiesBeyond"},
		mark{"sizeof-pointer-to-lock", "sub p := t.Elem().PkgPath() => p := \"\"", "./internal/sizeof TestWhatALockBehind"},
		mark{"store-estimated-cost", "false", "TestTheSizeTravels"},
		mark{"P1-link", "operand 2", "TestVersionsLive"},
		mark{"P1-as-of-link", "drop", "TestRaceVersions"},
		mark{"P2-no-replacing", "false", "TestVersionsLive"},
		mark{"P2-release-other-lease", "false", "TestALeaseOfTheOtherVersion"},
		mark{"P2-release-other-lease-in-run", "false", "TestALeaseOfTheOtherVersion"},
		mark{"I2-unlinked-load-age", "sub f.Unlinked() => false", "TestI3AfterASyncALoadBeside"},
		mark{"I2-kept-beside-what-was-read", "sub !w.linked || w.baseline == w.linkedAt => true", "./tier/internal/inflight TestI2WhatStandsBeside"},
		mark{"P4-link-of-own-server", "sub f.Unlinked() => false", "TestI3WhatIsLoadedBeside"},
	)
}
