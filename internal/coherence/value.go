package coherence

// Value is what the cache holds for a subject: the version that the truth had,
// and which load (or write) made it, for the schedule.
type Value int64

const loadBits = 20

func newValue(version, load int64) Value { return Value(version<<loadBits | load&(1<<loadBits-1)) }

func (v Value) version() int64 { return int64(v >> loadBits) }
func (v Value) load() int64    { return int64(v & (1<<loadBits - 1)) }
