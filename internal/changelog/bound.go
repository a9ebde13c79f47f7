package changelog

// The bound on the scopes of a log: a million, or as many as fit into a quarter of the
// server's memory.
const (
	MaxScopes = 1_000_000
	MinScopes = 10_000 // however little memory there is
	// BytesPerScope is the memory of one scope: 110 bytes with names of 20, 160 with the longest.
	BytesPerScope = 128
)

// MostScopes returns the bound on the scopes of a log of a server whose memory is bounded
// to so many bytes; 0: it is not bounded. The script trim computes the same.
func MostScopes(memory int64) int64 {
	if memory <= 0 {
		return MaxScopes
	}
	return min(MaxScopes, max(MinScopes, memory/BytesPerScope/4))
}
