package changelog

// LogKey returns the name of a store's change log on the server, and Channel that of the
// channel on which its changes are published. In a cluster both are in one slot.
func LogKey(prefix string) string { return prefix + ":{" + prefix + "}:log" }

// Channel returns the name of the channel: see [LogKey].
func Channel(prefix string) string { return prefix + ":{" + prefix + "}:changes" }
