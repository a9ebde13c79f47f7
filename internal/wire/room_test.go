package wire

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// array is an answer of texts.
func array(texts ...string) []byte {
	b := fmt.Appendf(nil, "*%d\r\n", len(texts))
	for _, s := range texts {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(s), s)
	}
	return b
}

func textsOf(r Reply) (out []string) {
	for _, one := range r.Array {
		out = append(out, one.Text)
	}
	return out
}

func TestAnAnswerIsPutIntoItsRoom(t *testing.T) {
	room := &Room{}
	long := strings.Repeat("x", shortText)
	first, rest := decodeInto(array("a", "bc", long), room)
	require.Empty(t, rest)
	require.Equal(t, []string{"a", "bc", long}, textsOf(first))
	require.Same(t, &room.replies[0], &first.Array[0])
	a, kept := first.Array[0].Text, first.Array[2].Text
	others := []string{"d", strings.Repeat("y", 1000), ""}
	second, _ := decodeInto(array(others...), room)
	require.Equal(t, others, textsOf(second))
	require.Equal(t, "d", a, "its memory is used again")
	require.Equal(t, long, kept, "but not that of long texts")
	nested, _ := decodeInto([]byte("*2\r\n*1\r\n$1\r\nf\r\n*1\r\n$1\r\ng\r\n"), room)
	require.Equal(t, "f", nested.Array[0].Array[0].Text)
	require.Equal(t, "g", nested.Array[1].Array[0].Text)
	require.Empty(t, room.replies[:3][2], "nothing of before is kept")
	require.Zero(t, testing.AllocsPerRun(100, func() { decodeInto(array2, room) }))
}

var array2 = array("a", "b")

// A room does not grow beyond what may be kept.
func TestAnAnswerThatIsTooLongForARoomHasMemoryOfItsOwn(t *testing.T) {
	room := &Room{}
	texts := make([]string, 1000)
	for i := range texts {
		texts[i] = strings.Repeat("y", 300)
	}
	r, _ := decodeInto(array(texts...), room)
	require.Equal(t, texts, textsOf(r))
	require.Zero(t, *room)
	r, _ = decodeInto(array(texts[:800]...), room)
	require.Equal(t, texts[:800], textsOf(r))
	require.LessOrEqual(t, cap(room.text), 2*roomMost)
}

func TestAskInto(t *testing.T) {
	c, _ := overTCP(t, Options{})
	client(t, c)
	room := &Room{}
	for i := range 100 {
		want := []string{fmt.Sprint(i), "b"}
		r, err := c.AskInto(within(t), room, []string{"ECHO", "first"}, []string{"ARRAY", want[0], want[1]})
		require.NoError(t, err)
		require.Equal(t, want, textsOf(r))
		own, err := c.AskOne(within(t), "ECHO", "has none")
		require.NoError(t, err)
		require.Equal(t, "has none", own.Text)
		require.Equal(t, want, textsOf(r), "others' answers are put elsewhere")
	}
}
