package core

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// All keys of a request may have failed for one reason, which is said once.
func TestErrorsOfOneTextAreJoinedToOne(t *testing.T) {
	other := errors.New("other")
	require.NoError(t, joinDistinct([]error{nil, nil}))
	err := joinDistinct([]error{nil, ErrUnavailable, ErrUnavailable, other, ErrUnavailable, nil, other})
	require.EqualError(t, err, ErrUnavailable.Error()+"; other")
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorIs(t, err, other)
}
