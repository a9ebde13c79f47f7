package session

import (
	"context"
	"time"

	"github.com/tiercache/tiercache/internal/remoteerr"
	"github.com/tiercache/tiercache/tier/internal/pieces"
)

// Release gives up leases, and tries again until the server answers: the connection over
// which a lease was asked for may have been lost together with the answer, and until the
// client has noticed that, it fails new requests. When the server has been away for as
// long as leases last, none is left to give up. ctx is the store's; onError is called with the
// error of each attempt.
func (s *Session) Release(ctx context.Context, keys []string, token string, onError func(error)) {
	expired := time.NewTimer(s.Cfg.LeaseTTL)
	defer expired.Stop()
	for pause := time.Millisecond; ; pause = min(2*pause, maxReleasePause) {
		keys, _ = pieces.Each(keys, func(piece []string) error { return s.releaseOnce(ctx, piece, token, onError) })
		// guard: release-until-answered
		if len(keys) == 0 {
			return
		}
		var back <-chan struct{}
		var again <-chan time.Time
		if a := s.Conn.Of(keys[0]).Current.Load(); a != nil {
			back = a.Over
		} else {
			again = time.After(pause)
		}
		select {
		case <-back:
		case <-again:
		case <-expired.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// maxReleasePause bounds the pauses between attempts to give up a lease.
const maxReleasePause = 100 * time.Millisecond

// releaseOnce returns an error if the server has not answered.
func (s *Session) releaseOnce(store context.Context, keys []string, token string, onError func(error)) error {
	limit := max(s.Cfg.Timeout, time.Second)
	if store.Err() != nil {
		limit = s.Cfg.Timeout
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	err := s.Conn.Release(ctx, keys, token)
	if err != nil {
		onError(err)
	}
	if remoteerr.Away(err) {
		return err
	}
	return nil
}
