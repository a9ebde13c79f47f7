package tier

// Codec turns values into bytes for the remote tier and back. Both methods may
// be called at once from many goroutines. A panic or an error of Unmarshal makes the
// read a miss, which counts as [Damaged].
//
// Entries are stored with a fingerprint of how they are encoded, and what has another
// is not given to Unmarshal. It is made of the name of the codec's type, or what its
// method Name() string returns if it has that; and of what its method
// Schema(reflect.Type) string returns for V if it has that, or else the package and name
// of V, not its fields. [WithSchema] replaces the latter. So a codec decides itself what
// it makes of bytes that were written for a V with other fields.
type Codec interface {
	// Marshal returns the bytes of v, a V, which the library keeps. An error fails a Set; a
	// loaded value is returned all the same, and not stored.
	Marshal(v any) ([]byte, error)
	// Unmarshal sets what v points to: v is a *V, and what it points to is the zero V; if V
	// is itself a pointer, as a protobuf message is, that is a nil one, for which Unmarshal
	// makes the value. data is what Marshal gave, or what another version of the program
	// gave, or damaged: it must return an error and not a wrong value. It must neither keep
	// data nor write to it.
	Unmarshal(data []byte, v any) error
}
