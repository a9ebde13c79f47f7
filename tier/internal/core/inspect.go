package core

import (
	"github.com/tiercache/tiercache/tier/internal/inflight"
	"github.com/tiercache/tiercache/tier/internal/inspect"
)

// kindOfRead returns what a read that no fast path answered is counted as.
func kindOfRead(got *inflight.Served, err error) inspect.Kind {
	switch {
	case err == nil && got.Origin == inflight.FromRemote:
		return inspect.KindRemoteHit
	case err == nil && got.Origin == inflight.FromLoader:
		return inspect.KindLoadedRead
	}
	return inspect.KindNone
}
