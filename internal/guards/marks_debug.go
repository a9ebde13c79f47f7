package main

func init() {
	marks = append(marks,
		mark{"debug-page-refuses-other-origins", "false", "./tier/tierdebug TestOnlyThePageItself"},
		mark{"debug-page-asks-for-token", "false", "./tier/tierdebug TestOnlyThePageItself"},
		mark{"debug-events-end-with-shutdown", "drop", "./tier/tierdebug TestEventsDoNotHoldUpAShutdown"},
		mark{"bypass-is-read-from-delta", "false", "TestABypassedNamespace"},
		mark{"bypass-is-read-from-message", "false", "TestABypassedNamespace"},
		mark{"bypass-refuses-requests", "false", "TestABypassedNamespace"},
		mark{"bypass-uses-no-local-copy", "operand 3", "TestABypassedNamespace"},
		mark{"bypass-ends", "drop", "TestABypassEndsByItself"},
		mark{"bypass-of-process-that-starts", "false", "TestABypassedNamespace"},
		mark{"bypass-is-applied-nowhere", "sub slices.DeleteFunc(own.scopes(), isBypass) => own.scopes()", "TestBypassesOfSeveral"},
		mark{"bypass-edit-holds-lease", "sub Token: token => Token: \"\"", "TestABypassThatWasStopped"},
	)
}
