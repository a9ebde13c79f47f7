package main

func init() {
	marks = append(marks,
		mark{"debug-page-refuses-other-origins", "false", "./tier/tierdebug TestOnlyThePageItself"},
		mark{"debug-page-asks-for-token", "false", "./tier/tierdebug TestOnlyThePageItself"},
		mark{"debug-events-end-with-shutdown", "drop", "./tier/tierdebug TestEventsDoNotHoldUpAShutdown"},
	)
}
