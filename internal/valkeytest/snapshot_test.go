package valkeytest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAServerIsSetBackToItsSnapshot(t *testing.T) {
	s := Start(t)
	s.Do(t, "SET", "k", "1")
	s.Save(t)
	value := func() string {
		v, _ := s.Do(t, "GET", "k").ToString() // nil is ""
		return v
	}
	s.Do(t, "SET", "k", "2")
	s.Session(t).Do("CLIENT KILL TYPE normal SKIPME yes", "DEBUG RELOAD NOSAVE", "CONFIG RESETSTAT")
	require.Equal(t, "1", value())

	s.Do(t, "SET", "k", "2")
	s.Kill()
	s.Restart()
	require.Equal(t, "1", value())
	s.DropSnapshot()
	s.DropSnapshot() // twice is fine
	s.Kill()
	s.Restart()
	require.Equal(t, "", value())
}
