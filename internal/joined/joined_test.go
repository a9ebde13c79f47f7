package joined_test

import (
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/tiercache/tiercache/internal/joined"
)

func TestSeveralErrorsAreOneLine(t *testing.T) {
	assert.NoError(t, joined.Errors())
	assert.NoError(t, joined.Errors(nil, nil))
	assert.Equal(t, io.EOF, joined.Errors(nil, io.EOF, nil), "one error stays as it is")
	err := joined.Errors(io.EOF, nil, joined.Errors(fmt.Errorf("reading: %w", io.ErrUnexpectedEOF), io.ErrClosedPipe))
	assert.EqualError(t, err, "EOF; reading: unexpected EOF; io: read/write on closed pipe")
	for _, each := range []error{io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe} {
		assert.ErrorIs(t, err, each)
	}
	assert.NotErrorIs(t, err, io.ErrNoProgress)
	assert.NotPanics(t, func() { assert.False(t, err == joined.Errors(io.EOF, io.ErrClosedPipe)) }, "it can be compared")
}
