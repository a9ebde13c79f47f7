package remote

import (
	"errors"
	"strconv"
	"strings"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/wire"
)

// reply is what came of a command: an answer, or an error that says why there is
// none, that the server refuses, or (errNull) that there is nothing.
type reply struct {
	wire.Reply
	err error
}

// errNull is the server's null.
var errNull = errors.New("nothing is there")

// refusal is a server's error.
type refusal string

// Error leaves out the code that says nothing, as the client does.
func (r refusal) Error() string { return strings.TrimPrefix(string(r), "ERR ") }

// refusalOf returns what a server said that refused.
func refusalOf(err error) (text string, ok bool) {
	if err == nil {
		return "", false
	}
	var server *valkey.ValkeyError
	if errors.As(err, &server) {
		return server.Error(), true
	}
	var direct refusal
	if errors.As(err, &direct) {
		return direct.Error(), true
	}
	return "", false
}

// direct is an answer that came without the client.
func direct(r wire.Reply) reply {
	switch r.Kind {
	case wire.Null:
		return reply{err: errNull}
	case wire.Error:
		return reply{err: refusal(r.Text)}
	}
	return reply{Reply: r}
}

// clients is an answer that the client has given.
func clients(r valkey.ValkeyResult) reply {
	m, err := r.ToMessage()
	if valkey.IsValkeyNil(err) {
		return reply{err: errNull}
	}
	if err != nil {
		return reply{err: err}
	}
	return reply{Reply: message(m)}
}

func message(m valkey.ValkeyMessage) wire.Reply {
	if s, err := m.ToString(); err == nil {
		return wire.Reply{Kind: wire.Text, Text: s}
	}
	if n, err := m.ToInt64(); err == nil {
		return wire.Reply{Kind: wire.Int, Int: n}
	}
	if all, err := m.ToArray(); err == nil {
		r := wire.Reply{Kind: wire.Array, Array: make([]wire.Reply, len(all))}
		for i := range all {
			r.Array[i] = message(all[i])
		}
		return r
	}
	if err := m.Error(); err != nil && !valkey.IsValkeyNil(err) {
		return wire.Reply{Kind: wire.Error, Text: err.Error()}
	}
	return wire.Reply{}
}

func (r reply) text() (string, error) {
	if r.err == nil && r.Kind != wire.Text {
		return "", errAnswer
	}
	return r.Text, r.err
}

// number also reads one that came as text.
func (r reply) number() (int64, error) {
	switch {
	case r.err != nil:
		return 0, r.err
	case r.Kind == wire.Text:
		n, err := strconv.ParseInt(r.Text, 10, 64)
		if err != nil {
			return 0, errAnswer
		}
		return n, nil
	case r.Kind != wire.Int:
		return 0, errAnswer
	}
	return r.Int, nil
}

func (r reply) array() ([]wire.Reply, error) {
	if r.err == nil && r.Kind != wire.Array {
		return nil, errAnswer
	}
	return r.Array, r.err
}

// texts is an array of text, in which null is empty.
func (r reply) texts() ([]string, error) {
	all, err := r.array()
	if err != nil {
		return nil, err
	}
	texts := make([]string, len(all))
	for i, one := range all {
		if texts[i], err = direct(one).text(); err != nil && err != errNull {
			return nil, err
		}
	}
	return texts, nil
}
