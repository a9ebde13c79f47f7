package tier

import (
	"encoding/json"
	"fmt"
)

// Codec turns values into bytes for the remote tier and back. Both methods may
// be called at once from many goroutines. Unmarshal is given a pointer to a
// zero value. It must neither keep data nor write to it. A panic or an error of
// Unmarshal makes the read a miss.
type Codec interface {
	// Marshal returns the bytes of v, which the library keeps. An error fails a Set; a
	// loaded value is returned all the same, and not stored.
	Marshal(v any) ([]byte, error)
	// Unmarshal sets what v points to. data is what Marshal gave, or what another version
	// of the program gave, or damaged: it must return an error and not a wrong value.
	Unmarshal(data []byte, v any) error
}

type jsonCodec struct{}

func (jsonCodec) Marshal(v any) ([]byte, error)   { return json.Marshal(v) }
func (jsonCodec) Unmarshal(b []byte, v any) error { return json.Unmarshal(b, v) }

// recovered turns a codec's panic into an error.
func recovered(doing string, err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("codec panicked while %s: %v", doing, p)
	}
}
