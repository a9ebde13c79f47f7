package remote

import (
	"context"
	"errors"
	"strconv"

	"github.com/valkey-io/valkey-go"

	"github.com/tiercache/tiercache/internal/remoteerr"
	"github.com/tiercache/tiercache/internal/resp"
)

// reply is what came of a command: an answer, or an error that says why there is
// none, that the server refuses, or (errNull) that there is nothing.
type reply struct {
	resp.Reply
	err error
}

// errNull is the server's null.
var errNull = errors.New("nothing is there")

// direct is an answer that came without the client.
func direct(r resp.Reply) reply {
	switch r.Kind {
	case resp.Null:
		return reply{err: errNull}
	case resp.Error:
		return reply{err: remoteerr.Refusal(r.Text)}
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

func message(m valkey.ValkeyMessage) resp.Reply {
	if s, err := m.ToString(); err == nil {
		return resp.Reply{Kind: resp.Text, Text: s}
	}
	if n, err := m.ToInt64(); err == nil {
		return resp.Reply{Kind: resp.Int, Int: n}
	}
	if all, err := m.ToArray(); err == nil {
		r := resp.Reply{Kind: resp.Array, Array: make([]resp.Reply, len(all))}
		for i := range all {
			r.Array[i] = message(all[i])
		}
		return r
	}
	if err := m.Error(); err != nil && !valkey.IsValkeyNil(err) {
		return resp.Reply{Kind: resp.Error, Text: err.Error()}
	}
	return resp.Reply{}
}

func (r reply) text() (string, error) {
	if r.err == nil && r.Kind != resp.Text {
		return "", errAnswer
	}
	return r.Text, r.err
}

// number also reads one that came as text.
func (r reply) number() (int64, error) {
	switch {
	case r.err != nil:
		return 0, r.err
	case r.Kind == resp.Text:
		n, err := strconv.ParseInt(r.Text, 10, 64)
		if err != nil {
			return 0, errAnswer
		}
		return n, nil
	case r.Kind != resp.Int:
		return 0, errAnswer
	}
	return r.Int, nil
}

func (r reply) array() ([]resp.Reply, error) {
	if r.err == nil && r.Kind != resp.Array {
		return nil, errAnswer
	}
	return r.Array, r.err
}

// texts is an array of texts and whole numbers, all as texts. Null is empty.
func (r reply) texts() ([]string, error) {
	all, err := r.array()
	if err != nil {
		return nil, err
	}
	texts := make([]string, len(all))
	for i, one := range all {
		if one.Kind == resp.Int {
			texts[i] = strconv.FormatInt(one.Int, 10)
		} else if texts[i], err = direct(one).text(); err != nil && err != errNull {
			return nil, err
		}
	}
	return texts, nil
}

func repliesOf(answers []resp.Reply) []reply {
	replies := make([]reply, len(answers))
	for i := range replies {
		replies[i] = direct(answers[i])
	}
	return replies
}

// gaveUp reports whether err says that the caller's context ended.
func gaveUp(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
