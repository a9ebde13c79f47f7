// Package msgpack shows a codec of ten lines: values as MessagePack. It is the one of docs/values.md.
package msgpack

import "github.com/vmihailenco/msgpack/v5"

type msgpackCodec struct{}

func (msgpackCodec) Marshal(v any) ([]byte, error)   { return msgpack.Marshal(v) }
func (msgpackCodec) Unmarshal(b []byte, v any) error { return msgpack.Unmarshal(b, v) }
func (msgpackCodec) Name() string                    { return "msgpack" }
