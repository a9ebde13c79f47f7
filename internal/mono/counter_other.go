//go:build !(linux && amd64 && gc && !purego)

package mono

func counter() uint64 { return 0 }

func counterIsTrusted() bool { return false }

func inBubble() bool { return false }
