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
	Marshal(v any) ([]byte, error)
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
